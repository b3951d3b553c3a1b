"""Somebody's file comes in; a first mapping.toml goes out, with a comment for each guess. Rules, no model."""
