"""Estimates with their intervals: resampled statistics, and what a policy would have earned, from logged decisions."""
