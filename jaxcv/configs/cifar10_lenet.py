"""LeNet on CIFAR-10, the classic first network: batch 4, plain momentum, two epochs.

    python -m jaxcv train cifar10_lenet --workdir runs/cifar10_lenet

Data: `jaxcv data prepare cifar10`. Any other TFDS set of 32x32 colour images and ten classes goes by
its name. Result with `--data.name cifar10_jpeg75`, which is not CIFAR-10: 53.77% after 25,000 steps, 86 s
on 2 CPU cores (log: scripts/results/cifar10_jpeg75_lenet).
"""

from jaxcv.data import TFDS
from jaxcv.image import Normalize
from jaxcv.models import LeNet
from jaxcv.tasks import Classification
from jaxcv.train import SGD, Experiment, Optimizer


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        data=TFDS(name="cifar10"),
        model=LeNet(num_classes=10),
        task=Classification(num_classes=10),
        optimizer=Optimizer(learning_rate=0.001, algorithm=SGD(momentum=0.9)),
        batch_size=4,
        epochs=2,
        preprocess=(Normalize(mean=(0.5,), std=(0.5,)),),
        log_every=500,
    )
