"""Tables of images as the `datasets` library stores them."""
