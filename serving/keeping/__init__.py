"""What a retailer keeps up: offers, the suppression list, products and stock, by commands and over HTTP."""
