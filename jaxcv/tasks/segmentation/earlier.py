"""The settings of a segmentation task as they were before objectives, for runs on disk."""

from __future__ import annotations

from typing import Any

from jaxcv.tasks.classification.objectives import CrossEntropy, Focal
from jaxcv.tasks.objective import Objective, Sum
from jaxcv.tasks.segmentation.objectives import Dice, HardPixels, LovaszSoftmax, Tversky

# With their defaults.
_EARLIER = {
    "cross_entropy_weight": 1.0,
    "label_smoothing": 0.0,
    "focal_gamma": 0.0,
    "hard_pixels": 1.0,
    "class_weights": (),
    "dice_weight": 0.0,
    "tversky_weight": 0.0,
    "lovasz_weight": 0.0,
    "tversky_false_negatives": 0.7,
}


def upgrade_segmentation(fields: dict[str, Any]) -> dict[str, Any]:
    """Turns the fields of an earlier `Segmentation` into those of today's; others stay.

    Example:
        >>> upgrade_segmentation({"num_classes": 3, "hard_pixels": 0.5})["objective"].fraction
        0.5
    """
    if not _EARLIER.keys() & fields.keys():
        return fields
    old: dict[str, Any] = {name: fields.get(name, value) for name, value in _EARLIER.items()}
    weights = tuple(old["class_weights"])
    objective: Objective = (
        Focal(gamma=old["focal_gamma"], class_weights=weights)
        if old["focal_gamma"] > 0
        else CrossEntropy(label_smoothing=old["label_smoothing"], class_weights=weights)
    )
    if old["hard_pixels"] < 1:
        objective = HardPixels(objective=objective, fraction=old["hard_pixels"])
    regions = [
        (region, old[name])
        for name, region in (
            ("dice_weight", Dice()),
            ("tversky_weight", Tversky(false_negatives=old["tversky_false_negatives"])),
            ("lovasz_weight", LovaszSoftmax()),
        )
        if old[name]
    ]
    if regions or old["cross_entropy_weight"] != 1:
        objective = Sum((objective, old["cross_entropy_weight"]), *regions)
    rest = {name: value for name, value in fields.items() if name not in _EARLIER}
    return {**rest, "objective": objective}
