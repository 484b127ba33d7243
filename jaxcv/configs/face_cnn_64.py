"""Face or no face: a convolutional network with one sigmoid output on 64x64 colour images.

    python -m jaxcv train face_cnn_64 --workdir runs/face_cnn --data.root PATH

PATH holds one folder of images per class, such as PATH/background and PATH/face; a fifth of each is
held out for testing. The second folder in alphabetical order is the positive class. For C people
instead of yes or no, write a preset with `Classification(num_classes=C)`.
"""

from jaxcv.data import Folder
from jaxcv.image import ColorJitter, Normalize, RandomHorizontalFlip
from jaxcv.models import FaceCNN
from jaxcv.tasks import BinaryClassification
from jaxcv.train import AdamW, Cosine, Experiment, Keep, Optimizer


def experiment() -> Experiment:
    """Gives the experiment."""
    return Experiment(
        data=Folder(root="faces", size=64),
        model=FaceCNN(num_classes=1),
        task=BinaryClassification(),
        optimizer=Optimizer(
            learning_rate=1e-3,
            algorithm=AdamW(weight_decay=1e-2),
            schedule=Cosine(warmup_steps=100),
        ),
        batch_size=64,
        epochs=30,
        augment=(RandomHorizontalFlip(), ColorJitter(brightness=0.2, contrast=0.2)),
        preprocess=(Normalize(mean=(0.5,), std=(0.5,)),),
        keep=Keep(last=2, best="test/accuracy"),
    )
