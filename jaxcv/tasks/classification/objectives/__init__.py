"""What classes are learned by, for whole images and for pixels: softmax, sigmoid, long tails, noise."""

from jaxcv.tasks.classification.objectives.long_tail import (
    LDAM,
    BalancedSoftmax,
    ClassBalanced,
    LogitAdjusted,
    Seesaw,
)
from jaxcv.tasks.classification.objectives.noise import (
    ActivePassive,
    Bootstrapped,
    EarlyLearning,
    GeneralizedCrossEntropy,
    NormalizedCrossEntropy,
    NormalizedFocal,
    SoftmaxAbsoluteError,
    SymmetricCrossEntropy,
)
from jaxcv.tasks.classification.objectives.sigmoid import (
    Asymmetric,
    EqualizedFocal,
    Hinge,
    SigmoidCrossEntropy,
    SigmoidFocal,
)
from jaxcv.tasks.classification.objectives.softmax import (
    BiTempered,
    CrossEntropy,
    Focal,
    MulticlassHinge,
    Poly1,
)

__all__ = [
    "LDAM",
    "ActivePassive",
    "Asymmetric",
    "BalancedSoftmax",
    "BiTempered",
    "Bootstrapped",
    "ClassBalanced",
    "CrossEntropy",
    "EarlyLearning",
    "EqualizedFocal",
    "Focal",
    "GeneralizedCrossEntropy",
    "Hinge",
    "LogitAdjusted",
    "MulticlassHinge",
    "NormalizedCrossEntropy",
    "NormalizedFocal",
    "Poly1",
    "Seesaw",
    "SigmoidCrossEntropy",
    "SigmoidFocal",
    "SoftmaxAbsoluteError",
    "SymmetricCrossEntropy",
]
