"""What the headers of image files say, before Pillow decodes the pixels: one format per file."""
