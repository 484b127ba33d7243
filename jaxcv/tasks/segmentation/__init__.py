"""Semantic segmentation: a class for every pixel."""

from jaxcv.tasks.segmentation.task import Segmentation

__all__ = ["Segmentation"]
