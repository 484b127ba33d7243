"""Programs written for earlier versions go on, and are told the names of today."""

import importlib

import pytest

EARLIER = [
    ("jaxcv.data", "RandomRectangle"),
    ("jaxcv.models", "AveragedViews"),
    ("jaxcv.train", "find_images"),
    ("jaxcv.train", "collect_examples"),
    ("jaxcv.report", "Mistake"),
    ("jaxcv.report", "face_sections"),
]


@pytest.mark.parametrize(("package", "name"), EARLIER)
def test_an_earlier_name_is_the_same_thing_with_a_warning(package, name):
    module = importlib.import_module(package)
    with pytest.warns(DeprecationWarning, match=rf"{package}\.{name} is now jaxcv\.") as warned:
        thing = getattr(module, name)
    path = str(warned[0].message).split(" is now ")[1]
    where, _, new_name = path.rpartition(".")
    assert getattr(importlib.import_module(where), new_name) is thing
    assert name not in module.__all__


def test_a_name_that_never_was_is_an_error():
    with pytest.raises(ImportError, match="Nothing"):
        exec("from jaxcv.models import Nothing")
