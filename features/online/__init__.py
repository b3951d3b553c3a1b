"""What Feast wrote to the online store, read without Feast (SQLite, Redis), and brought up to the newest event."""
