"""Experiments in the service: who is decided for by which variant, the same in every worker and in bulk."""
