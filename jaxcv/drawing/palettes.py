"""Which colour stands for which class in pictures of label maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcv.data import CAMVID, CITYSCAPES, PETS, VOC
from jaxcv.data.segmentation.masks import class_colors


def class_palette(class_names: Sequence[str], data: Any = None) -> np.ndarray:
    """Colours of classes: the data set's own, customary ones, or some that are far apart.

    Args:
        class_names: [C] names by label; those of CamVid, Cityscapes, Pascal VOC or Oxford-IIIT Pet
            have the colours that pictures of that data set use.
        data: the data set; its `palette`, where it has one, comes first.

    Returns:
        uint8 [C, 3]. Of colours that are nobody's custom, black is kept for a first class that is
        called background: over an image any other class would look like a shadow.

    Example:
        >>> class_palette(("background", "cat")).tolist(), class_palette(("cat",)).tolist()
        ([[0, 0, 0], [128, 0, 0]], [[128, 0, 0]])
    """
    names = tuple(class_names)
    own = getattr(data, "palette", None)
    if own is not None and len(own) == len(names):
        return np.asarray(own, np.uint8)
    for known in (CAMVID, CITYSCAPES, PETS, VOC):
        if known.class_names == names:
            return np.asarray(known.palette, np.uint8)
    if names[:1] == ("background",):
        return class_colors(len(names))
    return class_colors(len(names) + 1)[1:]
