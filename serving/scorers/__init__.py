"""Registered models as scorers: champions are found, loaded and asked."""
