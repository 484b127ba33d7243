"""What embeddings are trained by: objects over the losses on pairs, triplets, proxies and centres."""

from jaxcv.tasks.faces.objectives.pairs import (
    Circle,
    Contrastive,
    LiftedStructure,
    MultiSimilarity,
    NPairs,
    NTXent,
    PairObjective,
    RankedList,
    SupervisedContrastive,
    Triplet,
)
from jaxcv.tasks.faces.objectives.proxies import Center, MarginSoftmax, ProxyAnchor, ProxyNCA

__all__ = [
    "Center",
    "Circle",
    "Contrastive",
    "LiftedStructure",
    "MarginSoftmax",
    "MultiSimilarity",
    "NPairs",
    "NTXent",
    "PairObjective",
    "ProxyAnchor",
    "ProxyNCA",
    "RankedList",
    "SupervisedContrastive",
    "Triplet",
]
