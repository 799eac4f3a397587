"""Road networks in vector files: reading, writing, styles."""
