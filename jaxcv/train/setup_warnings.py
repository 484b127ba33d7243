"""What lets a run start, but is rarely meant: said in a line each, or refused with `Runtime.strict`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import jax

from jaxcv.data import Source
from jaxcv.errors import listed
from jaxcv.names import printable
from jaxcv.train.checks import SetupError, check_sizes
from jaxcv.train.data_card import DataCard
from jaxcv.train.experiment import Experiment, Runtime
from jaxcv.train.parallel import DeviceMap

logger = logging.getLogger(__name__)


def say_setup_warnings(
    experiment: Experiment, runtime: Runtime, device_map: DeviceMap, card: DataCard, train: Source
) -> None:
    """Logs what is doubtful about a run that is to start.

    Args:
        experiment: what is to be trained.
        runtime: with `strict` the warnings are an error.
        device_map: the devices.
        card: of the data.
        train: the training records.

    Raises:
        SetupError: with `runtime.strict`, where there is anything to say.
    """
    found = list(class_warnings(card, counts_objects="boxes" in experiment.task.annotations))
    found += batch_warnings(experiment, runtime, device_map, train)
    if found and runtime.strict:
        raise SetupError(f"{'; '.join(found)} (--strict makes this an error)")
    if jax.process_index() == 0:
        for text in found:
            logger.warning("warning: %s", printable(text))


def class_warnings(card: DataCard, *, counts_objects: bool) -> Iterator[str]:
    """A phrase for each split that lacks classes, by the counts on the card; nothing where none are kept.

    Args:
        card: of the data.
        counts_objects: objects are found before a background, so that one class is enough.
    """
    counts = card.train.class_counts
    present = [name for name, count in zip(card.class_names, counts, strict=False) if count]
    if len(present) == 1 and not counts_objects:
        yield (
            f"all {card.train.count} training records are of one class, {present[0]}: there is nothing to "
            "tell apart, and every accuracy will be 1"
        )
        return
    yield from _lacking("training set", card.class_names, counts, "is never learned")
    if card.test.class_names == card.train.class_names:  # The people of a test set may be others.
        yield from _lacking(
            "test set", card.class_names, card.test.class_counts, "has no part in the test figures"
        )


def _lacking(split: str, names: tuple[str, ...], counts: tuple[int, ...], so: str) -> Iterator[str]:
    missing = [name for name, count in zip(names, counts, strict=False) if not count]
    if len(missing) == 1:
        yield f"the {split} has nothing of the class {missing[0]}, which {so}"
    elif missing:
        yield (
            f"the {split} has nothing of {len(missing)} of {len(names)} classes, each of which {so}: "
            f"{listed(missing)}"
        )


def batch_warnings(
    experiment: Experiment, runtime: Runtime, device_map: DeviceMap, train: Source
) -> Iterator[str]:
    """A phrase where a batch is larger than the training set, with the largest that fits."""
    size, count = experiment.batch_size, len(train)
    if size <= count:
        return

    def fits(smaller: int) -> bool:
        try:
            check_sizes(replace(experiment, batch_size=smaller), runtime, device_map)
            if experiment.sampler is not None:
                experiment.sampler.order(train, smaller, experiment.seed)
        except ValueError:
            return False
        return True

    largest = next(filter(fits, range(count, 0, -1)), None)
    advice = "use more records" if largest is None else f"--batch-size {largest} fits"
    yield (
        f"batch_size is {size}, but there are {count} training records, so that each update sees records "
        f"more than once; {advice}"
    )
