"""A seeded omnichannel world whose true answers are known: a config in, events out."""
