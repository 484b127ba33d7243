"""Metrics: sums on the device, ratios and tables on the host.

A metrics object is a pytree of sums and counts. It adds up leaf by leaf over batches and, by
`psum`, over devices; its module's `summary` turns the total into named numbers in float64 on the
host. Rows whose mask is False count nowhere, so evaluation is exact for every batch size and device
count.
"""

from jaxcv.metrics.binary import BinaryMetrics
from jaxcv.metrics.calibration import CalibrationBins
from jaxcv.metrics.classification import ClassificationMetrics
from jaxcv.metrics.regression import RegressionMetrics

__all__ = ["BinaryMetrics", "CalibrationBins", "ClassificationMetrics", "RegressionMetrics"]
