"""What is SQLite's alone: its write-ahead log, and bulk loads in large statements."""
