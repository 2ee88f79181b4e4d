"""Training data: sources of images, and endless streams of batches out of them."""
