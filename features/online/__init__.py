"""Feast's online store, written and read in its form without Feast (SQLite, Redis), and states up to the newest event."""
