"""Experiments as data: what is tried on whom, and who gets which variant."""
