"""The three models, one module each, with their configuration beside them."""
