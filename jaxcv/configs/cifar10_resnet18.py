"""ResNet-18 on CIFAR-10: the usual strong baseline for small images.

    python -m jaxcv train cifar10_resnet18 --workdir runs/cifar10_resnet18

Data: `jaxcv data prepare cifar10`; or another set of 32x32 colour images by `--data.name`. Made for one
accelerator; it has not been run to its end by this project. For orientation: the baseline of
github.com/KellerJordan/cifar10-airbench gives a ResNet-18 of this kind 96%.
"""

from jaxcv.data import TFDS
from jaxcv.image import Cutout, Normalize, RandomCrop, RandomHorizontalFlip
from jaxcv.models import ResNet
from jaxcv.tasks import Classification
from jaxcv.train import (
    SGD,
    Cosine,
    Experiment,
    Keep,
    Optimizer,
)


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        data=TFDS(name="cifar10"),
        model=ResNet(num_classes=10, depth=18, stem="cifar"),
        task=Classification(num_classes=10),
        optimizer=Optimizer(
            learning_rate=0.1,
            algorithm=SGD(momentum=0.9, nesterov=True, weight_decay=5e-4),
            schedule=Cosine(warmup_steps=400),
        ),
        batch_size=128,
        epochs=100,
        augment=(RandomCrop(padding=4), RandomHorizontalFlip(), Cutout(size=8)),
        # Mean and deviation of the training images of CIFAR-10.
        preprocess=(Normalize(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),),
        keep=Keep(last=2, best="test/accuracy"),
    )
