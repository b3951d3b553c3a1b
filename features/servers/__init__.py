"""How servers are asked: for how long, and for how long no more."""
