"""Which anchors of a detector are to find which object: one rule a file, for one image each."""

from jaxcv.tasks.detection.assignment.assignment import Assigner, Assignment
from jaxcv.tasks.detection.assignment.atss import ATSS
from jaxcv.tasks.detection.assignment.center_sampling import CenterSampling
from jaxcv.tasks.detection.assignment.max_iou import MaxIoU

__all__ = ["ATSS", "Assigner", "Assignment", "CenterSampling", "MaxIoU"]
