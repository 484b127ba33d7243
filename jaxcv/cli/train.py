"""`jaxcv train PRESET --workdir DIR`: train, or go on with a run."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import tyro

from jaxcv.cli.options import enable_compilation_cache, load_preset
from jaxcv.cli.presets import train_usage
from jaxcv.cli.results import best_line, print_results
from jaxcv.report import report_run
from jaxcv.train import Experiment, NonFiniteError, Runtime
from jaxcv.train import train as run_training
from jaxcv.train.divergence import divergence
from jaxcv.train.logging import read_rows


def train(words: list[str]) -> int:
    """`jaxcv train PRESET --workdir DIR ...`."""
    if not words or words[0] in ("-h", "--help"):
        print(train_usage(), end="")
        return 0 if words else 2
    preset = load_preset(words[0])

    @dataclass(frozen=True, kw_only=True)
    class Train:
        """Train a preset, or go on with the run that the work directory holds."""

        workdir: Path
        """Directory of this run: configuration, metrics, checkpoints, report."""
        experiment: Annotated[Experiment, tyro.conf.arg(name="")] = preset
        runtime: Annotated[Runtime, tyro.conf.arg(name="")] = Runtime()  # noqa: RUF009

    options = tyro.cli(Train, args=words[1:], prog=f"jaxcv train {words[0]}")
    enable_compilation_cache()
    try:
        results = run_training(options.experiment, options.workdir, options.runtime)
    except NonFiniteError:
        # What was reached before is worth a look, and the report says what happened then.
        with suppress(ValueError):  # no checkpoint yet
            page = report_run(options.workdir, options.runtime, experiment=options.experiment)
            if jax.process_index() == 0:
                print(f"report: {page}")
        raise
    print_results(results)
    page, log = options.workdir / "report.html", options.workdir / "metrics.jsonl"
    if not page.exists() or page.stat().st_mtime < log.stat().st_mtime:
        report_run(options.workdir, options.runtime, results=results, experiment=options.experiment)
    if jax.process_index() == 0:
        best = best_line(options.workdir, options.experiment.keep)
        print(*([best] if best else []), f"report: {page}", sep="\n")
    why = divergence(read_rows(log))
    if why:
        raise NonFiniteError(why)
    return 0
