"""Recommenders from the literature, each behind one interface: popularity, item-KNN, EASE, TIFU-KNN, LambdaMART."""
