"""The report of a run: curves, confusion, calibration, mistakes, settings, in one HTML file."""

from jaxcv.report.page import write_report
from jaxcv.report.run import report_run
from jaxcv.report.sections import Mistake

__all__ = ["Mistake", "report_run", "write_report"]
