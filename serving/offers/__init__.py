"""Offers as the service makes them: which are in force, what each is worth to a customer, which one is drawn."""
