"""`python -m jaxcv`."""

from jaxcv.cli import launch

launch()
