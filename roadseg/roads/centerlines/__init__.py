"""Road masks become centerlines: thin, trace, merge, measure."""
