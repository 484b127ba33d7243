"""Semantic segmentation: a class for every pixel."""

from jaxcv.tasks.segmentation.objectives import (
    MCC,
    Boundary,
    Dice,
    FocalTversky,
    GeneralizedDice,
    HardPixels,
    Jaccard,
    LovaszHinge,
    LovaszSoftmax,
    Region,
    Tversky,
)
from jaxcv.tasks.segmentation.task import Segmentation

__all__ = [
    "MCC",
    "Boundary",
    "Dice",
    "FocalTversky",
    "GeneralizedDice",
    "HardPixels",
    "Jaccard",
    "LovaszHinge",
    "LovaszSoftmax",
    "Region",
    "Segmentation",
    "Tversky",
]
