"""How fast and how small the fold is, beside plain ways of doing the same."""
