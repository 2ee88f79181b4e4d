"""The Hugging Face Hub: downloads, uploads, cards, datasets and Spaces."""
