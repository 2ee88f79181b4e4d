"""A search over settings of a recipe."""
