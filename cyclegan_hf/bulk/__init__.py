"""Many images through one pipeline: folders and datasets, shared out over processes."""
