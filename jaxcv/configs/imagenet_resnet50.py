"""ResNet-50 on ImageNet: bfloat16, 90 epochs, the recipe of Goyal et al. 2017 with a cosine.

    python -m jaxcv train imagenet_resnet50 --workdir runs/imagenet_resnet50

Data: TFDS `imagenet2012`, prepared as array_record where TensorFlow is installed (`jaxcv data prepare
imagenet2012`; its archives must be fetched by hand). For 8 accelerators; it has not been run by this
project. For orientation: Flax's example of this network reports 76.4% after 90 epochs on TPU v3-8
(github.com/google/flax, examples/imagenet/README.md).
"""

from jaxcv.data import TFDS, DecodeRandomResizedCrop
from jaxcv.image import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CenterCrop,
    Normalize,
    RandomHorizontalFlip,
)
from jaxcv.models import ResNet
from jaxcv.tasks import Classification, CrossEntropy
from jaxcv.train import (
    SGD,
    Cosine,
    Experiment,
    Keep,
    Optimizer,
)

ACCELERATORS = 8


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        # Training images are cut at random while they are decoded; those of evaluation come as the
        # central 256x256, of which preprocess takes the central 224x224.
        data=TFDS(
            name="imagenet2012",
            test_split="validation",
            size=256,
            fit="crop",
            channels=3,
            random_resized_crop=DecodeRandomResizedCrop(size=(224, 224)),
        ),
        model=ResNet(num_classes=1000, depth=50, dtype="bfloat16"),
        task=Classification(num_classes=1000, objective=CrossEntropy(label_smoothing=0.1)),
        optimizer=Optimizer(
            learning_rate=0.4,
            algorithm=SGD(momentum=0.9, nesterov=True, weight_decay=1e-4),
            schedule=Cosine(warmup_steps=6256),
        ),
        batch_size=1024,
        epochs=90,
        augment=(RandomHorizontalFlip(),),
        preprocess=(CenterCrop(size=224), Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD)),
        eval_batch_size=1024,
        log_every=100,
        keep=Keep(last=2, best="test/accuracy"),
    )
