"""`python -m jaxcv`."""

from jaxcv.cli.main import launch

launch()
