"""The page of the losses names every public name, and the examples in docstrings are true."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import losses

NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")
PAGE = Path(losses.__file__).with_name("README.md")
MODULES = [module.name for module in pkgutil.walk_packages(losses.__path__, prefix="jaxcv.losses.")]


def test_every_public_name_is_on_the_page():
    text = PAGE.read_text()
    assert [name for name in losses.__all__ if f"`{name}" not in text] == []
    assert all(hasattr(losses, name) for name in losses.__all__)
    assert PAGE.with_name("losses.png").exists()


class NearbyNumbers(doctest.OutputChecker):
    """Takes the last digit of a float, and the spaces around it, for a matter of the machine."""

    def check_output(self, want, got, optionflags):
        def text(output):
            return "".join(NUMBER.sub("#", output).split())

        def numbers(output):
            return [float(number) for number in NUMBER.findall(output)]

        return text(want) == text(got) and np.allclose(numbers(want), numbers(got), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(checker=NearbyNumbers())
    for example in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs={"jnp": jnp}):
        runner.run(example)
    assert runner.failures == 0
