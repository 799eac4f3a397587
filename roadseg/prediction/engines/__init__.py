"""What runs the model on a batch of windows."""
