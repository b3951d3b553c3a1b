"""Questions of requests read, and answered in time."""
