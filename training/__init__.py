"""Training sets, the models, their evaluation and their registration in MLflow."""
