"""The report of a run: curves, confusion, calibration, mistakes, settings, in one HTML file."""

from jaxcv.report.page import write_report
from jaxcv.report.presentation import NoOptions, Presentation, presentation_of
from jaxcv.report.run import report_run

__all__ = ["NoOptions", "Presentation", "presentation_of", "report_run", "write_report"]
