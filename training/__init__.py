"""Training sets, the three models, their evaluation and their registration in MLflow."""
