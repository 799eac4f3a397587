"""Training data on disk: which image goes with which labels, what both look like together, and what is kept aside."""
