"""Churn: the chance that a customer buys nothing within a horizon, and what is lost then."""
