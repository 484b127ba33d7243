"""`jaxcv report DIR`: write the report of a run."""

from jaxcv.cli.options import run_options
from jaxcv.report import report_run


def report(words: list[str]) -> int:
    """`jaxcv report DIR`."""
    options = run_options("report", words)
    print(report_run(options.workdir, options.runtime, options.step))
    return 0
