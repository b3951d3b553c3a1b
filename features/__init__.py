"""What happened, who it happened to, and what was known when."""
