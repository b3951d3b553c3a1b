"""Who may ask what: keys with scopes, how often each may ask, what a browser may do, and what is logged of a request."""
