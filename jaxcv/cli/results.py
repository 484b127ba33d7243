"""How the commands print the numbers of an evaluation."""

from typing import Any

import jax

from jaxcv.names import printable
from jaxcv.train import scalars

Results = dict[str, dict[str, Any]]


def print_results(results: Results) -> None:
    """Prints the numbers of an evaluation, a line each; in the first of several processes."""
    if jax.process_index() > 0:
        return
    for split, summary in results.items():
        print(f"{split}:")
        for name, value in scalars(summary).items():
            print(f"  {printable(name):<28} {value:.6g}")
