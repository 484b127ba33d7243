"""Drawing on images: boxes, index maps and the palettes of classes."""
