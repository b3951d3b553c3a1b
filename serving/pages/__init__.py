"""What people and their browsers load from the service: the console, the contract to try out, the snippet for shops."""
