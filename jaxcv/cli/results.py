"""How the commands print the numbers of an evaluation."""

from pathlib import Path
from typing import Any

import jax

from jaxcv.names import printable
from jaxcv.train import Checkpoints, Keep, scalars

Results = dict[str, dict[str, Any]]


def best_line(workdir: Path, keep: Keep) -> str | None:
    """Which checkpoint of a run is its best, and by how much; None where no metric chooses."""
    if keep.best is None:
        return None
    checkpoints = Checkpoints(workdir / "checkpoints", keep)
    step = checkpoints.best_step()
    if step is None:
        return f"best: no checkpoint has {keep.best}"
    value = checkpoints.manifest(step)["metrics"][keep.best]
    return f"best: step {step}, {keep.best} {value:.6g} (--step best)"


def print_results(results: Results) -> None:
    """Prints the numbers of an evaluation, a line each; in the first of several processes."""
    if jax.process_index() > 0:
        return
    for split, summary in results.items():
        print(f"{split}:")
        for name, value in scalars(summary).items():
            print(f"  {printable(name):<28} {value:.6g}")
