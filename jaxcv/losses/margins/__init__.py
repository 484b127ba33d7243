"""Margin softmax: objects that turn cosines into logits, for dense and fused classifiers."""

from jaxcv.losses.margins.adaptive import (
    AdaCos,
    AdaCosState,
    AdaFace,
    AdaFaceState,
    MagFace,
)
from jaxcv.losses.margins.dense import (
    class_cosines,
    margin_logits,
    margin_softmax_cross_entropy,
    updated_state,
)
from jaxcv.losses.margins.fixed import ArcFace, CombinedMargin, CosFace, NormFace, SphereFace
from jaxcv.losses.margins.hard_negatives import (
    CircleMargin,
    CurricularFace,
    CurricularFaceState,
    InterclassFilter,
    MVSoftmax,
)
from jaxcv.losses.margins.margin import BeyondPi, Gradient, Margin
from jaxcv.losses.margins.warmup import Warmup, WarmupState

__all__ = [
    "AdaCos",
    "AdaCosState",
    "AdaFace",
    "AdaFaceState",
    "ArcFace",
    "BeyondPi",
    "CircleMargin",
    "CombinedMargin",
    "CosFace",
    "CurricularFace",
    "CurricularFaceState",
    "Gradient",
    "InterclassFilter",
    "MVSoftmax",
    "MagFace",
    "Margin",
    "NormFace",
    "SphereFace",
    "Warmup",
    "WarmupState",
    "class_cosines",
    "margin_logits",
    "margin_softmax_cross_entropy",
    "updated_state",
]
