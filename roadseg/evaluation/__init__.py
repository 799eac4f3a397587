"""Scoring predicted roads against the truth (rasters, networks, reports), and comparing maps of roads."""
