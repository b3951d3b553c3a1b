"""The online store of Feast, written and read in its own form without Feast (SQLite, Redis), and states brought up to the newest event."""
