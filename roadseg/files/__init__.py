"""Files: finding inputs, checking and publishing outputs, and the processes that share the work on them."""
