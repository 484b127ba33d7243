"""Galleries of enrolled people: the contract, the stores behind it, encryption at rest."""

from jaxcv.faces.gallery.contract import Entry, Gallery, GalleryError, Match

__all__ = ["Entry", "Gallery", "GalleryError", "Match"]
