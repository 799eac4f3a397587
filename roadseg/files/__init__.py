"""Files: finding inputs, checking and publishing outputs."""
