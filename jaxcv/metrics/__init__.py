"""Metrics: sums on the device, ratios and tables on the host.

A metrics object is a pytree of sums and counts. It adds up leaf by leaf over batches and, by
`psum`, over devices; its module's `summary` turns the total into named numbers in float64 on the
host. Rows whose mask is False count nowhere, so evaluation is exact for every batch size and device
count.

Verification and identification compare examples with each other, and so are computed on the host
from all embeddings at once: `roc` and what is read from it, `fold_accuracy`, `search_ranks`. So is
detection, whose detections are ranked over all images: `detection_summary`.
"""

from jaxcv.metrics.binary import BinaryMetrics
from jaxcv.metrics.bootstrap import bootstrap_intervals
from jaxcv.metrics.boundary import BoundaryCounts, boundary_counts, boundary_summary
from jaxcv.metrics.calibration import CalibrationBins
from jaxcv.metrics.classification import ClassificationMetrics
from jaxcv.metrics.coco import COCOEvaluation, coco_evaluation
from jaxcv.metrics.confusion import confusion_matrices
from jaxcv.metrics.detection import detection_summary
from jaxcv.metrics.detection_matching import (
    DetectionMatches,
    best_f1,
    confusion_with_background,
    image_f1,
    match_detections,
)
from jaxcv.metrics.folds import FoldAccuracy, fold_accuracy, squared_distance_grid
from jaxcv.metrics.identification import (
    IdentificationPoint,
    SearchRanks,
    cumulative_match,
    nearest_neighbor_accuracy,
    rank_scores,
    search_ranks,
    true_identification_rate_at,
)
from jaxcv.metrics.identity_errors import IdentityErrors, hardest_pairs, identity_errors
from jaxcv.metrics.pairs import PairScores, cosine_scores, indexed_scores, pair_scores
from jaxcv.metrics.regression import RegressionMetrics
from jaxcv.metrics.segmentation import SegmentationMetrics
from jaxcv.metrics.templates import Templates, template_embeddings, template_pair_scores
from jaxcv.metrics.verification import (
    Det,
    OperatingPoint,
    Roc,
    area_under_roc,
    det,
    equal_error_point,
    equal_error_rate,
    roc,
    true_accept_rate_at,
    verification_summary,
)
from jaxcv.metrics.voc import voc_average_precision

__all__ = [
    "BinaryMetrics",
    "BoundaryCounts",
    "COCOEvaluation",
    "CalibrationBins",
    "ClassificationMetrics",
    "Det",
    "DetectionMatches",
    "FoldAccuracy",
    "IdentificationPoint",
    "IdentityErrors",
    "OperatingPoint",
    "PairScores",
    "RegressionMetrics",
    "Roc",
    "SearchRanks",
    "SegmentationMetrics",
    "Templates",
    "area_under_roc",
    "best_f1",
    "bootstrap_intervals",
    "boundary_counts",
    "boundary_summary",
    "coco_evaluation",
    "confusion_matrices",
    "confusion_with_background",
    "cosine_scores",
    "cumulative_match",
    "det",
    "detection_summary",
    "equal_error_point",
    "equal_error_rate",
    "fold_accuracy",
    "hardest_pairs",
    "identity_errors",
    "image_f1",
    "indexed_scores",
    "match_detections",
    "nearest_neighbor_accuracy",
    "pair_scores",
    "rank_scores",
    "roc",
    "search_ranks",
    "squared_distance_grid",
    "template_embeddings",
    "template_pair_scores",
    "true_accept_rate_at",
    "true_identification_rate_at",
    "verification_summary",
    "voc_average_precision",
]
