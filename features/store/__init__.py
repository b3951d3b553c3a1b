"""The only callers of Feast: definitions, repository, historical retrieval, writes to the online store."""
