"""Road networks as vectors."""
