"""The report of a run: curves, confusion, calibration, mistakes, settings, in one HTML file."""

from jaxcv.report.page import write_report
from jaxcv.report.run import report_run
from jaxcv.report.sections import Mistake
from jaxcv.tasks.faces.report import FaceEvidence, FacePair, face_evidence, face_sections

__all__ = [
    "FaceEvidence",
    "FacePair",
    "Mistake",
    "face_evidence",
    "face_sections",
    "report_run",
    "write_report",
]
