"""What decisions have reserved, in tables of the log: claims, counters, answers that are given again."""
