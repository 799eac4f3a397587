"""From the pixels of a scene to road probability, block by block."""
