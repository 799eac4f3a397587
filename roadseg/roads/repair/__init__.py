"""Repairing traced networks: spurs, gaps, junctions."""
