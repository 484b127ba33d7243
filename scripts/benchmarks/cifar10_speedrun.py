"""Seconds of a whole training run of `cifar10_speedrun`, by the rules of the record.

    python -m scripts.benchmarks.cifar10_speedrun                 # on a GPU or TPU, full size
    python -m scripts.benchmarks.cifar10_speedrun --runs 25       # mean and deviation of the accuracy
    python -m scripts.benchmarks.cifar10_speedrun --width-factor 0.125 --steps 4 --batch-size 500  # CPU

The rules of the published records (github.com/KellerJordan/cifar10-airbench): the images are on the
device, as uint8; the clock starts with the computation of the whitening filters and stops when the
predictions of the last evaluation, with its six views, are counted. Compilation is not timed: before
it a whole run is made on random labels, whose weights are thrown away. The clock here is the host's,
from before the first dispatch to after the last result.

Without CIFAR-10 the images are random: the time does not depend on them; no accuracy is printed. Floor:
the operations of the convolutions and the classifier - three forward passes a training image, one per
view of a test image - at the rate of a large matrix product, measured on the same device.
"""

import argparse
import json
import math
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcv.configs import cifar10_speedrun
from jaxcv.data import TFDS, Arrays, materialize
from jaxcv.train import Experiment, Runtime, TrainState, make_evaluator, open_run
from jaxcv.train.feed import ResidentFeed
from jaxcv.train.fitting import fit_count, make_fit
from jaxcv.train.loop import make_advance
from jaxcv.train.run import Run
from scripts.benchmarks.operations import ceiling, device, forward_operations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=int, default=5, help="timed runs after the one that compiles"
    )
    parser.add_argument("--width-factor", type=float, default=1.0, help="of all widths")
    parser.add_argument("--batch-size", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--steps", type=int, help="shorter than the epochs")
    parser.add_argument("--steps-per-dispatch", type=int, default=25)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), help="default: by the device")
    parser.add_argument(
        "--data", default="cifar10", help="TFDS name; random images where it is absent"
    )
    parser.add_argument("--examples", type=int, default=50_000, help="random training images")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures = measure(options)
    print(json.dumps(figures, indent=2))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Compiles, times the runs, and gives all figures."""
    dtype = options.dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    experiment, real = make_experiment(options, dtype)
    race = Race(open_run(experiment, Runtime(devices=1, resident=True)), options)
    compiling = time.perf_counter()
    race.run(seed=0, random_labels=True)
    compiling = time.perf_counter() - compiling
    results = [race.run(seed=seed) for seed in range(1, options.runs + 1)]
    seconds = [taken for taken, _ in results]

    model: Any = experiment.model
    forward = forward_operations(model.model, race.prepared.image_shape)
    views = (1 + len(model.shifts)) * (2 if model.mirror else 1)
    trained = race.prepared.total_steps * options.batch_size
    operations = forward * (3 * trained + views * len(race.prepared.test_source))
    rate = ceiling(dtype)
    floor = operations / rate
    figures = {
        "device": device(),
        "dtype": dtype,
        "widths": list(model.model.widths),
        "batch_size": options.batch_size,
        "steps": race.prepared.total_steps,
        "data": options.data if real else "random images",
        "seconds": round(statistics.median(seconds), 4),
        "seconds_of_each_run": [round(s, 4) for s in seconds],
        "seconds_of_parts": race.parts(seed=options.runs + 1),
        "seconds_of_the_run_that_compiles": round(compiling, 2),
        "images_per_second": round(trained / statistics.median(seconds)),
        "forward_megaflop_per_image": round(forward / 1e6, 1),
        "teraflop": round(operations / 1e12, 3),
        "measured_matmul_teraflop_per_second": round(rate / 1e12, 3),
        "floor_seconds": round(floor, 4),
        "fraction_of_floor": round(floor / statistics.median(seconds), 4),
    }
    if real:
        accuracies = [accuracy for _, accuracy in results]
        figures["accuracy_mean"] = round(statistics.fmean(accuracies), 5)
        if len(accuracies) > 1:
            figures["accuracy_deviation"] = round(statistics.stdev(accuracies), 5)
    return figures


def make_experiment(options: argparse.Namespace, dtype: Any) -> tuple[Experiment, bool]:
    """The recipe as asked for, and whether its data are real."""
    widths = tuple(max(2, round(w * options.width_factor)) for w in cifar10_speedrun.WIDTHS)
    experiment = cifar10_speedrun.recipe(widths, options.batch_size, options.epochs, dtype)
    if options.steps is not None:
        experiment = replace(experiment, steps=options.steps, epochs=None)
    try:
        data = TFDS(name=options.data)
        data.open("train")
        return replace(experiment, data=data), True
    except (ValueError, OSError) as error:
        print(f"random images instead of {options.data}: {error}")
    rng = np.random.default_rng(0)
    test_examples = min(10_000, options.examples)
    arrays = Arrays(
        images=rng.integers(0, 256, (options.examples, 32, 32, 3), np.uint8),
        labels=rng.integers(0, 10, options.examples),
        test_images=rng.integers(0, 256, (test_examples, 32, 32, 3), np.uint8),
        test_labels=rng.integers(0, 10, test_examples),
    )
    return replace(experiment, data=arrays), False


class Race:
    """A run with its data on the device, made again and again by the same compiled programs."""

    def __init__(self, prepared: Run, options: argparse.Namespace) -> None:
        per_dispatch = math.gcd(options.steps_per_dispatch, prepared.total_steps)
        runtime = replace(prepared.runtime, steps_per_dispatch=per_dispatch)
        self.prepared = replace(prepared, runtime=runtime)
        self.arrays = materialize(prepared.train_batches())
        self.feed = ResidentFeed(prepared.train_batches(), self.arrays, prepared.device_map)
        self.images = prepared.device_map.replicate(self.arrays["image"][: fit_count(prepared)])
        self.fit = make_fit(self.prepared)
        self.advance = make_advance(self.prepared, self.feed)
        self.evaluate = make_evaluator(self.prepared)

    def start(self, seed: int, random_labels: bool = False) -> TrainState:
        """The weights of a seed, before the clock starts; the labels on the device are those asked for."""
        of_seed = replace(self.prepared, experiment=replace(self.prepared.experiment, seed=seed))
        labels = self.arrays["label"]
        if random_labels:
            labels = np.random.default_rng(seed).permutation(labels)
        self.feed.replace(of_seed.train_batches(), {**self.arrays, "label": labels})
        return jax.block_until_ready(of_seed.create_state())

    def train(self, state: TrainState) -> TrainState:
        """All the steps."""
        step, total = 0, self.prepared.total_steps
        while step < total:
            state, _, made = self.advance(state, step, total - step)
            step += made
        return state

    def run(self, seed: int, random_labels: bool = False) -> tuple[float, float]:
        """Seconds and accuracy of one run."""
        state = self.start(seed, random_labels)
        begin = time.perf_counter()
        state = self.train(self.fit(state, self.images))
        accuracy = self.evaluate(state.variables)["accuracy"]
        return time.perf_counter() - begin, float(accuracy)

    def parts(self, seed: int) -> dict[str, float]:
        """Seconds of whitening, training and evaluation, each waited for: their sum is a little more."""
        state, taken = self.start(seed), {}
        for name, part in [
            ("whitening", lambda state: self.fit(state, self.images)),
            ("training", self.train),
            ("evaluation", lambda state: self.evaluate(state.variables)),
        ]:
            begin = time.perf_counter()
            state = jax.block_until_ready(part(state))
            taken[name] = round(time.perf_counter() - begin, 4)
        return taken


if __name__ == "__main__":
    main()
