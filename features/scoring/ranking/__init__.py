"""From scores of all products to the few that are answered with, compiled."""
