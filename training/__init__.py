"""Training: recipes, data and the loop. Not part of the installed library."""
