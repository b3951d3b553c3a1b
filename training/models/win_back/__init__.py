"""Win-back: whom a contact brings back, learned from logged decisions."""
