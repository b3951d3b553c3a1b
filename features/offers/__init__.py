"""Offers: what a retailer may say to a customer, as data; pure."""
