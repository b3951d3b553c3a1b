"""A next-product network as it scores in serving: read from its graph's file, and split in two halves."""
