"""How good roads are: pixels, skeletons, networks. Counts add; ratios are made once, at the end."""
