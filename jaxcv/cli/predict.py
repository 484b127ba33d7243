"""`jaxcv predict DIR IMAGE ...`: predictions for image files."""

from pathlib import Path

import tyro

from jaxcv.atomic import replacing
from jaxcv.cli.options import presentation_at, run_options
from jaxcv.errors import UsageError
from jaxcv.json_file import json_text
from jaxcv.names import file_fields, printable, without_surrogates
from jaxcv.predict.images import find_images
from jaxcv.train import chosen_variables, open_workdir


def predict(words: list[str]) -> int:
    """`jaxcv predict DIR IMAGE ...`.

    The lines of the output are strict JSON, whatever files are called: see `file_fields`.
    """
    presentation = presentation_at(words)  # one that cannot be read is said first
    images = tyro.conf.Positional[tuple[str, ...]]
    options = run_options(
        "predict",
        words,
        images=(images, (), "image files, folders or globs"),
        output=(Path | None, None, "JSON lines go here; None: DIR/predictions.jsonl"),
        ema=(bool, False, "predict with the averaged weights"),
        task_options=presentation.predict_options,
    )
    if not options.images:
        raise UsageError(
            "usage: jaxcv predict RUN IMAGE [IMAGE ...]; at least one picture must be given, as a file, a "
            "folder or a glob"
        )
    files = find_images(options.images)
    run, state = open_workdir(options.workdir, options.runtime, options.step)
    variables = chosen_variables(state, ema=options.ema)
    output = options.output or options.workdir / "predictions.jsonl"
    # Pictures go to `predictions/` beside predictions.jsonl.
    folder = output.with_suffix("") if output.suffix else output.with_name(f"{output.name}_files")
    rows = presentation.rows(run, variables, files, options.task, folder)
    failed = 0
    width = min(max(len(printable(file)) for file in files), 60)
    with replacing(output) as part, part.open("w", encoding="utf-8") as lines:
        for row in rows:
            stored = {**without_surrogates(row), **file_fields(row["file"])}
            lines.write(json_text(stored) + "\n")
            failed += "error" in row
            said = f"not readable: {row['error']}" if "error" in row else presentation.line(row)
            print(f"{printable(row['file']):<{width}}  {printable(said)}")
    print(f"{len(files) - failed} predictions, {failed} unreadable files: {printable(str(output))}")
    return 2 if failed == len(files) else 0
