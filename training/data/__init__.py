"""What training reads: labels after the cutoff, features as of it, splits in global time."""
