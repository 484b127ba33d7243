"""Faces: detection, alignment and galleries of enrolled people."""
