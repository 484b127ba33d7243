"""Softmax over a linear classifier of millions of classes: fused, with margins, sharded, sampled."""

from jaxcv.losses.linear.cross_entropy import LinearCrossEntropy, linear_softmax_cross_entropy
from jaxcv.losses.linear.sampling import (
    ClassSample,
    dense_row_update,
    lazy_row_update,
    sample_classes,
)
from jaxcv.losses.linear.top_k import linear_top_k

__all__ = [
    "ClassSample",
    "LinearCrossEntropy",
    "dense_row_update",
    "lazy_row_update",
    "linear_softmax_cross_entropy",
    "linear_top_k",
    "sample_classes",
]
