"""Road areas as polygons."""
