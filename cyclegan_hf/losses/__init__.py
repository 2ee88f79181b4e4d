"""Loss functions. Every one returns a mean; weights are the caller's."""
