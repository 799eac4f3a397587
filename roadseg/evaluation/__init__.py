"""Scoring predicted roads against the truth: rasters, networks, reports."""
