"""Losses of computer vision: pure functions that return one loss per example."""

from jaxcv.losses.boxes import (
    ciou_loss,
    diou_loss,
    giou_loss,
    iou_loss,
    smooth_l1_loss,
)
from jaxcv.losses.consistency import (
    distillation_loss,
    jensen_shannon_consistency,
)
from jaxcv.losses.early_learning import (
    early_learning_loss,
    update_early_learning_targets,
)
from jaxcv.losses.equalized_focal import (
    GradientBalance,
    equalized_focal_loss,
    initial_gradient_balance,
    update_gradient_balance,
)
from jaxcv.losses.focal import (
    asymmetric_loss,
    poly1_cross_entropy,
    sigmoid_focal_loss,
    softmax_focal_loss,
)
from jaxcv.losses.hinge import (
    hinge_loss,
    multiclass_hinge_loss,
)
from jaxcv.losses.imbalance import (
    balanced_softmax_cross_entropy,
    class_balanced_weights,
    count_classes,
    deferred_weights,
    ldam_loss,
    logit_adjusted_cross_entropy,
    seesaw_loss,
)
from jaxcv.losses.information import (
    conditional_entropy,
    cross_entropy,
    entropy,
    joint_entropy,
    js_divergence,
    kl_divergence,
    mutual_information,
)
from jaxcv.losses.linear import (
    ClassSample,
    LinearCrossEntropy,
    dense_row_update,
    lazy_row_update,
    linear_softmax_cross_entropy,
    linear_top_k,
    sample_classes,
)
from jaxcv.losses.margins import (
    AdaCos,
    AdaFace,
    ArcFace,
    CircleMargin,
    CombinedMargin,
    CosFace,
    CurricularFace,
    InterclassFilter,
    MagFace,
    Margin,
    MVSoftmax,
    NormFace,
    SphereFace,
    Warmup,
    class_cosines,
    margin_logits,
    margin_softmax_cross_entropy,
    updated_state,
)
from jaxcv.losses.noise import (
    active_passive_loss,
    bootstrapped_cross_entropy,
    generalized_cross_entropy,
    normalized_cross_entropy,
    normalized_focal_loss,
    softmax_absolute_error,
    symmetric_cross_entropy,
)
from jaxcv.losses.pairs.contrastive import (
    n_pairs_loss,
    ntxent_loss,
    supervised_contrastive_loss,
)
from jaxcv.losses.pairs.pairwise import (
    batch_contrastive_loss,
    circle_loss,
    contrastive_loss,
    lifted_structure_loss,
    multi_similarity_loss,
    ranked_list_loss,
)
from jaxcv.losses.pairs.proxies import (
    center_loss,
    proxy_anchor_loss,
    proxy_nca_loss,
    updated_centers,
)
from jaxcv.losses.pairs.triplets import (
    batch_triplet_loss,
    triplet_loss,
)
from jaxcv.losses.reduction import masked_mean
from jaxcv.losses.regions.boundary import (
    boundary_loss,
    signed_distances,
)
from jaxcv.losses.regions.lovasz import (
    lovasz_hinge_loss,
    lovasz_softmax_loss,
)
from jaxcv.losses.regions.overlap import (
    dice_loss,
    focal_tversky_loss,
    generalized_dice_loss,
    jaccard_loss,
    mcc_loss,
    tversky_loss,
)
from jaxcv.losses.regression import (
    euclidean_distance,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_squared_error,
)
from jaxcv.losses.regularization import l1_penalty, l2_penalty
from jaxcv.losses.sigmoid import sigmoid_cross_entropy
from jaxcv.losses.similarity import (
    l2_normalize,
)
from jaxcv.losses.softmax import softmax_cross_entropy
from jaxcv.losses.tempered import (
    bi_tempered_loss,
    tempered_log_softmax,
)

__all__ = [
    "AdaCos",
    "AdaFace",
    "ArcFace",
    "CircleMargin",
    "ClassSample",
    "CombinedMargin",
    "CosFace",
    "CurricularFace",
    "GradientBalance",
    "InterclassFilter",
    "LinearCrossEntropy",
    "MVSoftmax",
    "MagFace",
    "Margin",
    "NormFace",
    "SphereFace",
    "Warmup",
    "active_passive_loss",
    "asymmetric_loss",
    "balanced_softmax_cross_entropy",
    "batch_contrastive_loss",
    "batch_triplet_loss",
    "bi_tempered_loss",
    "bootstrapped_cross_entropy",
    "boundary_loss",
    "center_loss",
    "ciou_loss",
    "circle_loss",
    "class_balanced_weights",
    "class_cosines",
    "conditional_entropy",
    "contrastive_loss",
    "count_classes",
    "cross_entropy",
    "deferred_weights",
    "dense_row_update",
    "dice_loss",
    "diou_loss",
    "distillation_loss",
    "early_learning_loss",
    "entropy",
    "equalized_focal_loss",
    "euclidean_distance",
    "focal_tversky_loss",
    "generalized_cross_entropy",
    "generalized_dice_loss",
    "giou_loss",
    "hinge_loss",
    "huber",
    "initial_gradient_balance",
    "iou_loss",
    "jaccard_loss",
    "jensen_shannon_consistency",
    "joint_entropy",
    "js_divergence",
    "kl_divergence",
    "l1_penalty",
    "l2_normalize",
    "l2_penalty",
    "lazy_row_update",
    "ldam_loss",
    "lifted_structure_loss",
    "linear_softmax_cross_entropy",
    "linear_top_k",
    "log_cosh",
    "logit_adjusted_cross_entropy",
    "lovasz_hinge_loss",
    "lovasz_softmax_loss",
    "margin_logits",
    "margin_softmax_cross_entropy",
    "masked_mean",
    "mcc_loss",
    "mean_absolute_error",
    "mean_squared_error",
    "multi_similarity_loss",
    "multiclass_hinge_loss",
    "mutual_information",
    "n_pairs_loss",
    "normalized_cross_entropy",
    "normalized_focal_loss",
    "ntxent_loss",
    "poly1_cross_entropy",
    "proxy_anchor_loss",
    "proxy_nca_loss",
    "ranked_list_loss",
    "sample_classes",
    "seesaw_loss",
    "sigmoid_cross_entropy",
    "sigmoid_focal_loss",
    "signed_distances",
    "smooth_l1_loss",
    "softmax_absolute_error",
    "softmax_cross_entropy",
    "softmax_focal_loss",
    "supervised_contrastive_loss",
    "symmetric_cross_entropy",
    "tempered_log_softmax",
    "triplet_loss",
    "tversky_loss",
    "update_early_learning_targets",
    "update_gradient_balance",
    "updated_centers",
    "updated_state",
]
