"""`jaxcv predict DIR IMAGE ...`: predictions for image files."""

import json
from pathlib import Path
from typing import Any

import tyro

from jaxcv.cli.options import run_options
from jaxcv.cli.verify import chosen_variables
from jaxcv.errors import UsageError
from jaxcv.predict.images import find_images, predict_files
from jaxcv.tasks.detection.options import (
    DETECTION_OPTIONS,
    described_detections,
    detected_rows,
    detects,
)
from jaxcv.tasks.faces.embedding import embeds_faces
from jaxcv.tasks.segmentation.options import (
    INFERENCE_OPTIONS,
    described_fractions,
    segmented_rows,
    segments,
)
from jaxcv.train import open_workdir


def predict(words: list[str]) -> int:
    """`jaxcv predict DIR IMAGE ...`."""
    images = tyro.conf.Positional[tuple[str, ...]]
    options = run_options(
        "predict",
        words,
        images=(images, (), "image files, folders or globs"),
        output=(Path | None, None, "JSON lines go here; None: DIR/predictions.jsonl"),
        ema=(bool, False, "predict with the averaged weights"),
        **INFERENCE_OPTIONS,
        **DETECTION_OPTIONS,
    )
    files = find_images(options.images)
    run, state = open_workdir(options.workdir, options.runtime, options.step)
    if embeds_faces(run):
        raise UsageError(
            f"the run in {options.workdir} embeds faces, and embeddings tell who somebody is: they are "
            "not written to a file. Compare two pictures by `jaxcv verify`, or find people by "
            "`jaxcv enroll` and `jaxcv search`"
        )
    variables = chosen_variables(state, options.ema)
    output = options.output or options.workdir / "predictions.jsonl"
    # Pictures go to `predictions/` beside predictions.jsonl.
    folder = output.with_suffix("") if output.suffix else output.with_name(f"{output.name}_files")
    if not segments(run):
        check_unused(options, INFERENCE_OPTIONS, "segment")
    if not detects(run):
        check_unused(options, DETECTION_OPTIONS, "detect")
    if segments(run):
        rows = segmented_rows(run, variables, files, options, folder)
    elif detects(run):
        rows = detected_rows(run, variables, files, options, folder)
    else:
        rows = predict_files(run, variables, files)
    failed = 0
    width = min(max(map(len, files)), 60)
    with output.open("w") as lines:
        for row in rows:
            lines.write(json.dumps(row) + "\n")
            failed += "error" in row
            print(f"{row['file']:<{width}}  {described(row)}")
    print(f"{len(files) - failed} predictions, {failed} unreadable files: {output}")
    return 2 if failed == len(files) else 0


def check_unused(options: Any, known: dict[str, Any], verb: str) -> None:
    """Raises UsageError where an option of `known` is given to a run that does not do what it is for."""
    for name, (_, default, _) in known.items():
        if getattr(options, name) != default:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is for runs that {verb}, but this one does not")


def described(row: dict[str, Any]) -> str:
    """The part of a line that says what was predicted."""
    if "error" in row:
        return f"not readable: {row['error']}"
    if "fractions" in row:
        return described_fractions(row)
    if "detections" in row:
        return described_detections(row)
    if "probabilities" not in row:
        return f"{row['prediction']:.6g}"
    best = sorted(row["probabilities"].items(), key=lambda item: -item[1])[:3]
    return "  ".join(f"{name} {probability:.3f}" for name, probability in best)
