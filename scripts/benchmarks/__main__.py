"""Runs benchmarks: `python -m scripts.benchmarks [NAME ...] [--json FILE]`, all of them by default.

    python -m scripts.benchmarks
    python -m scripts.benchmarks convolutions --cases 64 --rounds 5
    python -m scripts.benchmarks training_step --threads 1 --clock cpu --json steps.json

Those that are not listed by `--help` are scripts of their own: `python scripts/benchmarks/NAME.py`.
"""

import importlib

from scripts.benchmarks import contenders

NAMES = ("convolutions", "training_step", "input_pipeline", "metrics")


def main() -> None:
    parser = contenders.parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    contenders.prepare(options)
    rows = []
    for name in options.names or NAMES:
        rows += importlib.import_module(f"scripts.benchmarks.{name}").run(options)
    contenders.finish(rows, options)


if __name__ == "__main__":
    main()
