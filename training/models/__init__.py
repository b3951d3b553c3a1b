"""The models, one folder each, with their configuration beside them."""
