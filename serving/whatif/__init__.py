"""What would happen: the same customers, and the log's own decisions, under the rules in force and under others."""
