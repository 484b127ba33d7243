"""DeepLabV3+ over ResNet-18 on CamVid at 160x120, from scratch: the counterpart of `camvid_unet`.

    python -m jaxcv train camvid_deeplab --workdir runs/camvid_deeplab

Data, loss and augmentation are those of `camvid_unet`; the backbone is dilated to stride 8, the decoder's
dilations suit so small a picture, and there is a second head. Made for one accelerator; it has not been
run to its end by this project.
"""

import dataclasses

from jaxcv.configs import camvid_unet
from jaxcv.models import DeepLabV3Plus, ResNetBackbone
from jaxcv.train import Experiment


def experiment() -> Experiment:
    """Gives the experiment."""
    return dataclasses.replace(
        camvid_unet.experiment(),
        model=DeepLabV3Plus(
            num_classes=11,
            backbone=ResNetBackbone(depth=18, width=32, output_stride=8),
            # The coarsest features are 15x20: a rate of 18 would reach over all their height.
            rates=(2, 4, 6),
            width=96,
            low_width=32,
            dropout=0.1,
            auxiliary_stride=16,
        ),
    )
