"""Evaluation: figures with their protocol, compared, and a report that can be looked at."""
