"""RetinaNet on BCCD at 320x240, from scratch: blood cells by anchor boxes on two CPU cores.

    python -m jaxcv train bccd_retinanet --workdir runs/bccd_retinanet

Data, size and augmentation are those of `bccd_fcos`, at half its length. It has not been run to its end by
this project.
"""

import dataclasses

from jaxcv.configs import bccd_fcos
from jaxcv.models import ConvBackbone, RetinaNet
from jaxcv.tasks import Detection
from jaxcv.tasks.detection.assignment import MaxIoU
from jaxcv.train import Experiment


def experiment() -> Experiment:
    """Gives the experiment."""
    return dataclasses.replace(
        bccd_fcos.experiment(),
        model=RetinaNet(
            num_classes=3,
            backbone=ConvBackbone(widths=(16, 32, 64, 128), patch=2),
            strides=(8, 16, 32),
            width=64,
            convolutions=2,
            # From 20 pixels, a platelet, to 102, a white cell. Cells are nearly round.
            anchor_size=2.5,
            scales=(1.0, 2**0.5),
            ratios=(1.0,),
        ),
        task=Detection(num_classes=3, assigner=MaxIoU(), iou_threshold=0.5, min_visibility=0.3),
        steps=600,
        eval_every=600,
    )
