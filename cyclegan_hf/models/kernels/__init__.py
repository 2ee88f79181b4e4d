"""Faster forms of layers with the same results, each behind a switch."""
