"""From clean road masks to centerlines: thin, trace, merge, then to the ground."""
