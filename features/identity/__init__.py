"""Who is whom as of any moment: identifiers and links in, customer ids out; pure functions."""
