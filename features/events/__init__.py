"""What an event is and what can be wrong with one: schema, per-row checks, the payload codes of properties."""
