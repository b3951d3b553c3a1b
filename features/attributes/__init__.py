"""What retailers know of a customer beside behaviour: told by `profile` events, kept with the state, read as signals."""
