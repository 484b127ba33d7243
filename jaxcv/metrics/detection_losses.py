"""What a detector's training reports: the parts of its loss, and how much there was to find."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import struct


@struct.dataclass
class DetectionLosses:
    """Sums that add up over batches and devices.

    Attributes:
        count: [] int32, images.
        objects: [] int32, objects to be found in them.
        positives: [] int32, anchors that were to find one.
        class_loss, box_loss, centerness_loss: [] float32, sums of the parts of the loss, unweighted.
    """

    count: jax.Array
    objects: jax.Array
    positives: jax.Array
    class_loss: jax.Array
    box_loss: jax.Array
    centerness_loss: jax.Array


def detection_loss_summary(metrics: DetectionLosses) -> dict[str, Any]:
    """Images, positives per object, and each part of the loss per positive; on the host.

    The parts are divided by the positives of all batches together (by 1 where there is none), the
    `loss` in the log by the sum of what each step was divided by: a step without a positive adds 1
    to that, and nothing here.

    Example:
        >>> detection_loss_summary(DetectionLosses(2, 4, 8, 4.0, 2.0, 0.0))["box_loss"]
        0.25
    """
    positives = max(int(metrics.positives), 1)
    return {
        "count": int(metrics.count),
        "positives_per_object": int(metrics.positives) / max(int(metrics.objects), 1),
        **{
            name: float(np.asarray(getattr(metrics, name))) / positives
            for name in ("class_loss", "box_loss", "centerness_loss")
        },
    }
