"""Losses of computer vision: pure functions that return one loss per example."""

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
from jaxcv.losses.noise import (
    active_passive_loss,
    bootstrapped_cross_entropy,
    generalized_cross_entropy,
    normalized_cross_entropy,
    normalized_focal_loss,
    softmax_absolute_error,
    symmetric_cross_entropy,
)
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
from jaxcv.losses.tempered import (
    bi_tempered_loss,
    tempered_log_softmax,
)

__all__ = [
    "GradientBalance",
    "active_passive_loss",
    "asymmetric_loss",
    "balanced_softmax_cross_entropy",
    "bi_tempered_loss",
    "bootstrapped_cross_entropy",
    "class_balanced_weights",
    "conditional_entropy",
    "count_classes",
    "cross_entropy",
    "deferred_weights",
    "distillation_loss",
    "early_learning_loss",
    "entropy",
    "equalized_focal_loss",
    "euclidean_distance",
    "generalized_cross_entropy",
    "hinge_loss",
    "huber",
    "initial_gradient_balance",
    "jensen_shannon_consistency",
    "joint_entropy",
    "js_divergence",
    "kl_divergence",
    "l1_penalty",
    "l2_penalty",
    "ldam_loss",
    "log_cosh",
    "logit_adjusted_cross_entropy",
    "masked_mean",
    "mean_absolute_error",
    "mean_squared_error",
    "multiclass_hinge_loss",
    "mutual_information",
    "normalized_cross_entropy",
    "normalized_focal_loss",
    "poly1_cross_entropy",
    "seesaw_loss",
    "sigmoid_cross_entropy",
    "sigmoid_focal_loss",
    "softmax_absolute_error",
    "softmax_cross_entropy",
    "softmax_focal_loss",
    "symmetric_cross_entropy",
    "tempered_log_softmax",
    "update_early_learning_targets",
    "update_gradient_balance",
]
