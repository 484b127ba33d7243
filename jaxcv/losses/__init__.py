"""Losses of computer vision: pure functions that return one loss per example."""

from jaxcv.losses.reduction import masked_mean
from jaxcv.losses.regression import (
    euclidean_distance,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_squared_error,
)
from jaxcv.losses.regularization import l1_penalty, l2_penalty
from jaxcv.losses.sigmoid import sigmoid_cross_entropy
from jaxcv.losses.softmax import softmax_cross_entropy

__all__ = [
    "euclidean_distance",
    "huber",
    "l1_penalty",
    "l2_penalty",
    "log_cosh",
    "masked_mean",
    "mean_absolute_error",
    "mean_squared_error",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
]
