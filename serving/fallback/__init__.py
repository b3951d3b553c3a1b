"""What needs no model: everybody's sales, answers and losses counted, and answered with where no model can or may answer."""
