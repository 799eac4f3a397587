"""Engines: the libraries and devices that run a model on batches of windows."""
