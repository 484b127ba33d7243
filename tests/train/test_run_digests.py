"""Three short runs end in the weights that they had at commit 947f774, before the code was rearranged.

`run_digests.json` holds their last training loss and, by machine, the SHA-256 of their weights: XLA's sums
depend on its version, on the number of cores and on the processor's vector instructions. On a machine
that is not there the loss is compared, which rounding alone may change.

    python -m tests.train.test_run_digests     # prints what this code gives on this machine
"""

import dataclasses
import hashlib
import json
import os
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from jaxcv.configs import camvid_unet, digits_lenet, shapes_fcos
from jaxcv.data import MaskFolder, Shapes
from jaxcv.train import Runtime, open_workdir, train

RECORDED = json.loads(Path(__file__).with_name("run_digests.json").read_text())


def digits(folder):
    return dataclasses.replace(digits_lenet.experiment(), epochs=None, steps=12)


def shapes(folder):
    data = Shapes(num_examples=24, num_test_examples=4, image_size=48)
    return dataclasses.replace(
        shapes_fcos.experiment(), data=data, batch_size=8, steps=4, eval_batch_size=4, eval_every=4
    )


def maps(folder):
    """Squares of two grey levels on noise, a class each."""
    rng = np.random.default_rng(0)
    for name in "images", "masks":
        (folder / name).mkdir()
    for number in range(10):
        image = rng.integers(0, 60, (32, 48, 3), np.uint8)
        mask = np.zeros((32, 48), np.uint8)
        for label, level in (1, 120), (2, 220):
            top, left = rng.integers(0, (20, 36))
            image[top : top + 12, left : left + 12] += np.uint8(level - 60)
            mask[top : top + 12, left : left + 12] = label
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    preset = camvid_unet.experiment()
    return dataclasses.replace(
        preset,
        data=MaskFolder(
            images=str(folder / "images"),
            masks=str(folder / "masks"),
            class_names=("back", "dark", "light"),
            size=(32, 48),
        ),
        model=preset.model.clone(num_classes=3),
        task=type(preset.task)(num_classes=3),
        augment=(preset.augment[0], dataclasses.replace(preset.augment[1], size=(32, 48))),
        batch_size=4,
        steps=4,
        eval_every=4,
    )


def machine():
    """What the sums depend on: the cores, jaxlib's version and the processor's instructions."""
    import jaxlib

    flags = next(
        (line for line in Path("/proc/cpuinfo").read_text().splitlines() if "flags" in line), ""
    )
    vectors = sorted(flag for flag in flags.split() if flag.startswith(("avx", "fma", "amx")))
    return f"{os.cpu_count()} cores, jaxlib {jaxlib.__version__} {' '.join(vectors)}"


def trained(experiment, workdir):
    """The loss of the last steps and the digest of the weights."""
    runtime = Runtime(devices=1)
    train(dataclasses.replace(experiment, log_every=4), workdir, runtime)
    _, state = open_workdir(workdir, runtime, experiment=experiment)
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get((state.params, state.model_state, state.ema))):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if row["split"] == "train"][-1], digest.hexdigest()


@pytest.mark.parametrize("make", [digits, shapes, maps], ids=lambda make: make.__name__)
def test_a_short_run_ends_in_the_recorded_weights(make, tmp_path):
    recorded = RECORDED[make.__name__]
    loss, digest = trained(make(tmp_path), tmp_path / "run")
    np.testing.assert_allclose(loss, recorded["loss"], rtol=1e-3)
    if machine() in recorded["digests"]:
        assert digest == recorded["digests"][machine()]


if __name__ == "__main__":
    found = {}
    for make in digits, shapes, maps:
        with tempfile.TemporaryDirectory() as folder:
            loss, digest = trained(make(Path(folder)), Path(folder) / "run")
        found[make.__name__] = {"loss": loss, "digests": {machine(): digest}}
    print(json.dumps(found, indent=2))
