"""`jaxcv evaluate DIR`: evaluate a checkpoint of a run."""

import json
from pathlib import Path

from jaxcv.cli.options import run_options
from jaxcv.cli.results import print_results
from jaxcv.cli.verify import PAIR_OPTIONS, evaluate_pairs
from jaxcv.train import evaluate_state, make_evaluator, open_workdir


def evaluate(words: list[str]) -> int:
    """`jaxcv evaluate DIR`."""
    options = run_options(
        "evaluate",
        words,
        json=(Path | None, None, "also write the whole summary to this file"),
        **PAIR_OPTIONS,
    )
    run, state = open_workdir(options.workdir, options.runtime, options.step)
    if options.pairs is None:
        results = evaluate_state(make_evaluator(run), state)
        what = f"{len(run.test_source)} test records"
    else:
        results, what = evaluate_pairs(run, state, options)
    print(f"step {int(state.step)}, {what}")
    print_results(results)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0
