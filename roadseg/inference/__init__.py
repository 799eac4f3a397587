"""From pixels to probabilities: engines, windows, blending."""
