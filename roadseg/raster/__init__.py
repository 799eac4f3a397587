"""Rasters in and out: the only place that knows rasterio."""
