"""`jaxcv evaluate DIR`: evaluate a checkpoint of a run."""

from pathlib import Path

from jaxcv.atomic import write_text
from jaxcv.cli.options import presentation_at, run_options
from jaxcv.cli.results import print_results
from jaxcv.json_file import json_text
from jaxcv.names import printable
from jaxcv.train import evaluate_state, make_evaluator, open_workdir


def evaluate(words: list[str]) -> int:
    """`jaxcv evaluate DIR`."""
    presentation = presentation_at(words)
    options = run_options(
        "evaluate",
        words,
        json=(Path | None, None, "also write the whole summary to this file"),
        task_options=presentation.evaluate_options,
    )
    run, state = open_workdir(options.workdir, options.runtime, options.step)
    results, what = presentation.evaluate(run, state, options.task) or (
        evaluate_state(make_evaluator(run), state),
        f"{len(run.test_source)} test records",
    )
    print(f"step {int(state.step)}, {printable(what)}")
    print_results(results)
    if options.json is not None:
        write_text(options.json, json_text(results, indent=2) + "\n")
    return 0
