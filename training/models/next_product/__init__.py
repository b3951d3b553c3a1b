"""Next product: the customer's sequence and habits in, a ranking of all products out."""
