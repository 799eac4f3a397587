"""Metrics of roads as pixels, skeletons and networks: arrays in, counts out; counts add, ratios are made at the end."""
