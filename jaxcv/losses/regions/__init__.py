"""Losses on regions of pixels: overlap, Lovasz, boundary."""
