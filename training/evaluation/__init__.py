"""Predictions and truth in, figures with intervals out: ranking, classification, off-policy values, plots, tables."""
