"""Metrics: pure functions on tensors of pictures in [0, 1]."""
