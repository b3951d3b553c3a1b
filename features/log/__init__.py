"""The durable event log: events are appended once and read in the order of arrival (SQLite, PostgreSQL)."""
