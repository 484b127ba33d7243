"""Experiments whose parts do not belong together are refused before anything is written."""

import dataclasses

import pytest

from jaxcv.configs import digits_lenet, shapes_fcos
from jaxcv.data import Digits, Shapes
from jaxcv.image import Mixup, Mosaic
from jaxcv.train import Runtime, SetupError, open_run

DIGITS = digits_lenet.experiment()
SHAPES = dataclasses.replace(
    shapes_fcos.experiment(), data=Shapes(num_examples=8, num_test_examples=4, image_size=32)
)


class Reversed:
    """A mixing of one's own: groups of three."""

    group_size = 3

    def check_record(self, record, name):
        raise ValueError(f"{name} is not to be reversed")

    def mix_batch(self, key, batch, *, rows, num_classes=None):
        return batch


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        (dataclasses.replace(SHAPES, data=Digits()), "Detection learns from boxes, .* has image, label"),
        (dataclasses.replace(DIGITS, data=SHAPES.data), "learns from label, .* has image, boxes"),
        (dataclasses.replace(DIGITS, mix=Mosaic()), "a mosaic joins images with boxes"),
        (dataclasses.replace(SHAPES, mix=Mixup()), "Mixup blends labels that are one class per image"),
        (dataclasses.replace(SHAPES, mix=Mosaic(), batch_size=6), "joins 4 neighbouring rows, but"),
        (dataclasses.replace(DIGITS, mix=Reversed(), batch_size=64), "Reversed joins 3 neighbouring rows"),
        (dataclasses.replace(DIGITS, mix=Reversed(), batch_size=3), r"digits\[\d+\] is not to be reversed"),
        (dataclasses.replace(DIGITS, mix=len), "which is no jaxcv.image.Mixing"),
        (dataclasses.replace(DIGITS, sampler=4), "sampler is 4, which is no jaxcv.data.Sampler"),
        (
            dataclasses.replace(SHAPES, task=dataclasses.replace(SHAPES.task, min_visibility=1.5)),
            r"min_visibility is 1\.5, but must be in \[0.0, 1.0\]",
        ),
        (
            dataclasses.replace(SHAPES, task=dataclasses.replace(SHAPES.task, num_classes=4)),
            "the data have 3 classes .* the task has 4",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(experiment, message):
    with pytest.raises(SetupError, match=message):
        open_run(experiment, Runtime(devices=1))


def test_a_mosaic_fits_boxes():
    run = open_run(dataclasses.replace(SHAPES, mix=Mosaic()), Runtime(devices=1))
    assert run.image_shape == (32, 32, 3)
