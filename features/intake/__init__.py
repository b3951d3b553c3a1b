"""The two steps of an ingest: a source is checked as a whole, and then it is appended."""
