"""The report of a run: curves, confusion, calibration, mistakes, settings, in one HTML file."""

from jaxcv.report.environment import collect_environment
from jaxcv.report.page import write_report
from jaxcv.report.sections import Mistake

__all__ = ["Mistake", "collect_environment", "write_report"]
