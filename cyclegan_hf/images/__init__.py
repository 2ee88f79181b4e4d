"""Image files: formats, depths, reading and writing, videos, background removal."""
