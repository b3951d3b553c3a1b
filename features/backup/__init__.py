"""Backups: consistent copies of what cannot be computed again, how they are put back, and where they are."""
