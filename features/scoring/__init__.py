"""What training measures and serving answers with: the models' files and the functions that score by them."""
