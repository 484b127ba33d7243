"""RetinaNet with ResNet-50 on COCO 2017 at 800x1344, from scratch, on 8 accelerators.

    python -m jaxcv train coco_retinanet_r50 --workdir runs/coco_retinanet --data.images .../train2017 ...

Data: COCO 2017, 118,287 training and 5,000 validation images and instances_*.json; the four paths are
fields of the data set. Every image is letterboxed to one size, where Detectron scales the shorter side
to 800.

The recipe is that of Lin et al. 2017 (arXiv:1708.02002, section 4.1: batch 16, learning rate 0.01,
smooth L1, focal loss) with group normalization and six times the schedule, by which networks
without pretrained weights catch up (He, Girshick & Dollár 2019, arXiv:1811.08883). Published for pretrained
weights: 36.4 (torchvision, box AP), 36.5 and 37.9 (Detectron2, 1x and 3x). It has not been run by this
project.
"""

from jaxcv.data import COCODetection
from jaxcv.image import IMAGENET_MEAN, IMAGENET_STD, Normalize, RandomHorizontalFlip
from jaxcv.models import ResNetBackbone, RetinaNet
from jaxcv.tasks import BoxSmoothL1, Detection
from jaxcv.tasks.detection.assignment import MaxIoU
from jaxcv.train import (
    SGD,
    Experiment,
    Keep,
    Optimizer,
    Step,
)

ACCELERATORS = 8


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        data=COCODetection(
            images="coco/train2017",
            annotations="coco/annotations/instances_train2017.json",
            test_images="coco/val2017",
            test_annotations="coco/annotations/instances_val2017.json",
            size=(800, 1344),
        ),
        model=RetinaNet(
            num_classes=80,
            backbone=ResNetBackbone(depth=50, dtype="bfloat16"),
        ),
        task=Detection(
            num_classes=80,
            assigner=MaxIoU(positive=0.5, negative=0.4),
            box_loss=BoxSmoothL1(),
            iou_threshold=0.5,
        ),
        optimizer=Optimizer(
            learning_rate=0.01,
            algorithm=SGD(momentum=0.9, weight_decay=1e-4),
            schedule=Step(at=(8 / 9, 26 / 27), factor=0.1, warmup_steps=1000),
            clip_norm=10.0,
        ),
        batch_size=16,
        steps=540_000,
        augment=(RandomHorizontalFlip(),),
        preprocess=(Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD),),
        eval_batch_size=16,
        eval_every=15_000,
        keep=Keep(last=2, best="test/average_precision"),
    )
