"""The commands that compare faces: verify, and evaluate on pairs. No embedding leaves them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from jaxcv.atomic import replacing
from jaxcv.cli.options import run_options
from jaxcv.errors import UsageError
from jaxcv.faces.gallery.device_gallery import DeviceGallery
from jaxcv.faces.pair_figure import pair_figure
from jaxcv.faces.photos import FaceReader, read_faces
from jaxcv.metrics import cosine_scores
from jaxcv.names import printable
from jaxcv.tasks.faces.embedding import (
    check_embedder,
    embed_pictures,
    embedder_digest,
    embedding_size,
    record_reader,
)
from jaxcv.tasks.faces.verification import (
    Threshold,
    evaluated_threshold,
    stored_threshold,
)
from jaxcv.train import Run, chosen_variables, open_workdir
from jaxcv.train.state import Variables

_FALSE_ACCEPT_RATE = 0.01

FACE_OPTIONS: dict[str, Any] = {
    "aligned": (bool, False, "photos are cropped and aligned faces already: only resize them"),
    "largest": (bool, False, "take the largest face where a photo shows several"),
    "ema": (bool, False, "embed with the averaged weights"),
}
THRESHOLD_OPTIONS: dict[str, Any] = {
    "threshold": (float | None, None, "score from which on it is the same person"),
    "false_accept_rate": (
        float | None,
        None,
        "instead of a threshold: the fraction of pairs of different people of the run's test set that "
        f"may be taken for one; None with no threshold: {_FALSE_ACCEPT_RATE}",
    ),
}
PHOTOS = tyro.conf.Positional[tuple[str, ...]]


@dataclass(frozen=True)
class Embedder:
    """A run opened for its embeddings.

    Attributes:
        run: the run.
        variables: what its model applies.
        step: of the checkpoint.
        split: name of its evaluation: "test", or "test_ema" for averaged weights.
    """

    run: Run
    variables: Variables
    step: int
    split: str

    def reader(self, options: Any) -> FaceReader:
        """What reads photos by `FACE_OPTIONS`."""
        return FaceReader(
            image_reader=record_reader(self.run),
            aligned=options.aligned,
            largest=options.largest,
        )

    def gallery(self, directory: Path) -> DeviceGallery:
        """A gallery of this embedder's; one of another's raises GalleryError."""
        return DeviceGallery(
            directory,
            embedding_size=embedding_size(self.run),
            model_digest=embedder_digest(self.run, self.variables),
        )

    def threshold(self, options: Any) -> Threshold:
        """The one asked for, or that of a false accept rate, stored or evaluated."""
        if options.threshold is not None:
            return Threshold(value=options.threshold, origin="as given")
        rate = options.false_accept_rate
        rate = _FALSE_ACCEPT_RATE if rate is None else rate
        stored = stored_threshold(options.workdir, self.step, self.split, rate)
        return stored or evaluated_threshold(self.run, self.variables, rate)


def verify(words: list[str]) -> int:
    """`jaxcv verify DIR IMAGE IMAGE`."""
    options = run_options(
        "verify",
        words,
        images=(PHOTOS, (), "two photos"),
        **THRESHOLD_OPTIONS,
        **FACE_OPTIONS,
        output=(Path, Path("pair.png"), "a picture of both aligned faces and their score"),
    )
    if len(options.images) != 2:
        raise UsageError(f"verify compares two photos, but {len(options.images)} were given")
    check_threshold(options)
    embedder = open_embedder(options)
    faces = read_faces(options.images, embedder.reader(options)).pictures
    embeddings = embed_pictures(embedder.run, embedder.variables, faces)
    score = float(cosine_scores(embeddings[:1], embeddings[1:])[0])
    threshold = embedder.threshold(options)
    decision = "same person" if threshold.accepts(score) else "different people"
    print(f"score      {score:.4f}")
    print(f"threshold  {threshold.value:.4f}  ({threshold.origin})")
    print(f"decision   {decision}")
    figure = pair_figure(
        (faces[0], faces[1]), options.images, score=score, threshold=threshold.value
    )
    with replacing(options.output) as part:
        figure.savefig(part)
    print(f"picture    {printable(str(options.output))}")
    return 0


def open_embedder(options: Any) -> Embedder:
    """Opens the run in `options.workdir`; one that embeds no faces raises SetupError."""
    run, state = open_workdir(options.workdir, options.runtime, options.step)
    check_embedder(run, options.workdir)
    variables = chosen_variables(state, ema=options.ema)
    split = "test_ema" if options.ema else "test"
    return Embedder(run, variables, int(state.step), split)


def check_threshold(options: Any) -> None:
    """Raises UsageError where `THRESHOLD_OPTIONS` are out of range or exclude each other."""
    rate = options.false_accept_rate
    if options.threshold is not None and rate is not None:
        raise UsageError("--threshold and --false-accept-rate exclude each other; give one of them")
    if rate is not None and not 0 <= rate <= 1:
        raise UsageError(f"--false-accept-rate is {rate}, but a fraction in [0, 1] is wanted")
    if options.threshold is not None and not np.isfinite(options.threshold):
        raise UsageError(f"--threshold is {options.threshold}, but a number is wanted")
