"""What customers went through and what it was worth, from the timeline: the journey audit, measured success, the hold-out."""
