"""Training: the loop, its configuration, data and record. The extra `train` installs what it needs."""
