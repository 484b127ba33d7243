"""The report: one well-formed file, complete, escaped, and content with whatever it is given."""

import base64
import io
import math
import platform
import re
from html.parser import HTMLParser
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from jaxcv.metrics import binary, classification, regression
from jaxcv.report import write_report
from jaxcv.report.sections import samples_gallery
from jaxcv.tasks import BinaryClassification, Classification, Regression
from jaxcv.tasks.classification.report import Mistake, mistakes_gallery
from jaxcv.train import collect_environment

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Checks that elements nest, and collects texts, attributes and pictures."""

    def __init__(self, page):
        super().__init__()
        self.open, self.texts, self.attributes, self.tags = [], [], [], []
        self.feed(page)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self):
        return "\n".join(self.texts)

    def values(self, tag, name):
        return [v for t, n, v in self.attributes if (t, n) == (tag, name)]


@pytest.fixture
def write(tmp_path):
    def write(**parts):
        known = {"title": "A run", "headlines": Classification(num_classes=10).headlines}
        path = write_report(tmp_path / "report.html", **{**known, **parts})
        return Reader(path.read_text(encoding="utf-8"))

    return write


count_classes = jax.jit(classification.ClassificationMetrics.from_logits)
count_binary = jax.jit(binary.BinaryMetrics.from_logits)
measure = jax.jit(regression.RegressionMetrics.from_predictions)


def summary_of(classes, rows=200):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows).astype(np.int32)
    logits = rng.normal(size=(rows, classes)) + 2 * np.eye(classes)[labels]
    return classification.summary(count_classes(logits.astype(np.float32), labels))


def history(steps=3):
    rows = [
        {"step": s, "split": split, "loss": 1 / s, "accuracy": 1 - 1 / (s + 1)}
        for s in range(1, steps + 1)
        for split in ("train", "test", "test_ema")
    ]
    rows.append({"step": steps, "split": "train", "learning_rate": 0.1, "images_per_second": 9.0})
    return rows


def test_a_whole_report_shows_every_part(write):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    names = ("ant", "bee", "cow")
    result = summary_of(3)
    page = write(
        subtitle="insects",
        history=history(),
        summary=result,
        class_names=names,
        task_sections={
            "Most confident mistakes": mistakes_gallery(
                [
                    Mistake(
                        image=images[0], true="ant", predicted="bee", confidence=0.5, record="r/1"
                    ),
                    Mistake(
                        image=images[1], true="cow", predicted="ant", confidence=0.9, record="r/2"
                    ),
                ]
            )
        },
        samples=samples_gallery(images, np.array([0, 1, 2]), names),
        config={
            "class": "jaxcv.train.Experiment",
            "model": {"class": "a.LeNet", "widths": [6, 16]},
        },
        environment=collect_environment(),
    )
    for heading in (
        "Training", "Evaluation", "Confusion matrix", "Scores per class", "Reliability",
        "Most confident mistakes", "Augmented training images", "Configuration",
        "Versions and hardware", "Loss", "Accuracy", "Learning rate", "Images per second",
    ):  # fmt: skip
        assert heading in page.texts, heading
    assert f"{100 * result['accuracy']:.2f}%" in page.texts
    assert page.text.index("r/2") < page.text.index("r/1"), "the most confident comes first"
    assert {"LeNet", "6, 16", "ant", "bee", "cow", "step"} <= set(page.texts)
    # Two mistakes and three samples, as PNG that gives the very pixels back.
    pictures = page.values("img", "src")
    assert len(pictures) == 5
    data = base64.b64decode(pictures[0].removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), images[1])


def test_nothing_is_fetched_from_elsewhere(write):
    page = write(history=history(), summary=summary_of(3), environment=collect_environment())
    for tag, name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "action", "data"):
            assert value.startswith(("data:image/png", "#")), (tag, name, value)
    assert not {"link", "iframe", "object", "embed"} & set(page.tags)
    policy = page.values("meta", "content")[0]
    assert policy.startswith("default-src 'none'")


def test_every_text_is_escaped(write):
    evil = "<script>alert('&')</script>"
    page = write(
        title=evil,
        subtitle=evil,
        history=[{"step": 1, "split": evil, "loss": 1.0}],
        summary={**summary_of(5), "note_of_nobody": 1.0},
        class_names=[evil] * 5,
        task_sections={
            evil: mistakes_gallery([
                Mistake(
                    image=np.zeros((2, 2, 1), np.uint8),
                    true=evil, predicted=evil, confidence=1.0, record=f'"{evil}',
                )
            ])
        },
        samples=samples_gallery(np.zeros((1, 2, 2, 1)), [0], [evil]),
        config={"class": evil, evil: [evil, {evil: evil}]},
        environment={evil: {evil: evil}, "note": evil},
    )  # fmt: skip
    assert page.tags.count("script") == 1, "only the page's own"
    assert evil in page.texts


def test_an_empty_report_is_a_page(write):
    page = write()
    assert "h1" in page.tags
    assert "section" not in page.tags


@pytest.mark.parametrize(
    "rows",
    [
        [{"step": 1, "split": "train", "loss": 0.7}],
        [{"step": 1, "split": "train", "loss": math.nan}],
        [{"step": s, "split": "train", "loss": [1.0, math.inf, 1e9][s]} for s in range(3)],
        [{"step": s, "split": "train", "loss": -1.0, "accuracy": 0.0} for s in range(2)],
    ],
    ids=["one point", "only nan", "infinity", "constant"],
)
def test_odd_histories_are_drawn(write, rows):
    page = write(history=rows)
    assert "Loss" in page.texts
    drawn = " ".join(v for _, n, v in page.attributes if n in ("d", "cx", "cy", "x1", "y1"))
    assert not re.search("nan|inf", drawn)


def test_binary_and_regression_summaries_are_shown(write):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=50).astype(np.float32), rng.integers(0, 2, 50)
    page = write(
        summary=binary.summary(count_binary(logits, labels)),
        class_names=("no", "yes"),
        headlines=BinaryClassification().headlines,
    )
    assert {"Confusion matrix", "Reliability", "no", "yes"} <= set(page.texts)
    numbers = measure(logits, labels)
    page = write(
        summary=regression.summary(numbers),
        samples=samples_gallery(logits.reshape(2, 5, 5), [0.5, 7], ()),
        headlines=Regression().headlines,
    )
    assert {"R²", "0.5", "7"} <= set(page.texts)
    assert "Confusion matrix" not in page.texts


def test_nothing_counted_is_still_a_page(write):
    metrics = count_classes(
        np.zeros((2, 3), np.float32), np.zeros(2, np.int32), mask=np.zeros(2, bool)
    )
    assert "NaN" in write(summary=classification.summary(metrics)).texts


@pytest.mark.parametrize(("classes", "drawn"), [(2, True), (100, True), (101, False)])
def test_the_matrix_is_drawn_up_to_a_hundred_classes(write, classes, drawn):
    page = write(summary=summary_of(classes, rows=300))
    assert ("Confusion matrix" in page.texts) is drawn
    assert ("Most frequent confusions" in page.texts) is (classes > 4)


def test_a_mixed_label_names_both_classes(write):
    labels = np.array([[0.7, 0.0, 0.3], [0.0, 1.0, 0.0]])
    page = write(samples=samples_gallery(np.zeros((2, 4, 4, 1)), labels, ("ant", "bee", "cow")))
    assert {"ant 70% + cow 30%", "bee"} <= set(page.texts)


def test_environment_names_versions_and_no_person_or_place():
    environment = collect_environment()
    assert {"python", "jax", "jaxcv", "flax", "optax"} <= set(environment["Versions"])
    assert "CPU" in environment["Hardware"]["devices"]
    everything = str(environment)
    assert platform.node() not in everything
    assert str(Path.home()) not in everything
    assert str(Path.cwd()) not in everything
