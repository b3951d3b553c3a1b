"""The recommender of the next-product benchmark: candidates of several methods and a transformer, ordered by trees."""
