"""The report of a run: curves, confusion, calibration, mistakes, settings, in one HTML file."""

from typing import Any

from jaxcv.renamed import earlier_name
from jaxcv.report.page import write_report
from jaxcv.report.presentation import NoOptions, Presentation, presentation_of
from jaxcv.report.run import report_run

__all__ = ["NoOptions", "Presentation", "presentation_of", "report_run", "write_report"]

_EARLIER = {
    "FaceEvidence": "jaxcv.tasks.faces.report.FaceEvidence",
    "FacePair": "jaxcv.tasks.faces.report.FacePair",
    "face_evidence": "jaxcv.tasks.faces.report.face_evidence",
    "face_sections": "jaxcv.tasks.faces.report.face_sections",
    "Mistake": "jaxcv.tasks.classification.report.Mistake",
}


def __getattr__(name: str) -> Any:
    return earlier_name(__name__, name, _EARLIER)
