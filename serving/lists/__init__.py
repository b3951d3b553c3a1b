"""Lists of products for the pages of a shop: what is like a product, what goes with a cart, what is popular."""
