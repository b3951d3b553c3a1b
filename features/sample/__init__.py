"""A shop that nobody has to bring: invented customers of all channels, up to this moment, in a home of their own."""
