"""The neural network, its weights on disk, and the card that says how to use them."""
