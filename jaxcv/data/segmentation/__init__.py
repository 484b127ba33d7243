"""Data sets with a label map for each image."""
