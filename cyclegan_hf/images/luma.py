"""Luma weights (ITU-R BT.601)."""

# Weights of red, green and blue in the luma of ITU-R BT.601 (section 2.5.1), as in Pillow's `convert("L")`.
LUMA_WEIGHTS = (0.299, 0.587, 0.114)
