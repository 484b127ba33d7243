"""One number for each image."""

from jaxcv.tasks.regression.task import Regression

__all__ = ["Regression"]
