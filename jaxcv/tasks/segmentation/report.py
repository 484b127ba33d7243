"""What a test of segmentation has to show: where pixels go wrong, and which classes do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxcv.drawing.index_maps import overlay
from jaxcv.report.charts.class_bars import class_bars, color_keys
from jaxcv.report.charts.curves import histogram_chart
from jaxcv.report.markup import Markup, tag
from jaxcv.report.pictures import picture, to_uint8

PANEL = 248
"""Longer side of a panel in CSS pixels."""

WRONG = (234, 68, 12)
"""Colour of wrong pixels among the errors."""

_NO_LABEL = (45, 45, 45)  # about what pixels without a label are darkened to among the errors

_SHOWN_CLASSES = 12  # a legend beyond that is folded up
_SAMPLE = 160


@dataclass(frozen=True, kw_only=True)
class SegmentedImage:
    """An image with its true and its predicted label map.

    Attributes:
        image: [H, W, C] uint8.
        truth: [H, W] integer classes, or the ignore label.
        prediction: [H, W] integer classes.
        mean_iou: within this image, in [0, 1].
        record: Name of the record, to find it again.
    """

    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    mean_iou: float
    record: str = ""


def segmentation_sections(
    *,
    worst: Sequence[SegmentedImage],
    typical: Sequence[SegmentedImage],
    class_iou: Sequence[float | None],
    class_pixels: Sequence[int],
    image_iou: np.ndarray,
    class_names: Sequence[str],
    palette: np.ndarray,
) -> dict[str, Markup | None]:
    """Sections for `write_report(task_sections=...)`: `{heading: content}`.

    Args:
        worst: Images to be shown first, worst first.
        typical: Others, about the median.
        class_iou: [C] over all test pixels; None for a class that is nowhere.
        class_pixels: [C] test pixels of each class.
        image_iou: [N] mean IoU within each test image.
        class_names: [C].
        palette: [C, 3] uint8.
    """
    charts = tag(
        "div",
        iou_chart(class_iou, class_pixels, class_names, palette),
        _image_histogram(image_iou),
        class_="pair",
    )
    keys = legend(class_names, palette, errors=True)
    return {
        "IoU by class and by image": charts,
        "Worst images": _panels(worst, class_names, palette, keys),
        "Typical images": _panels(typical, class_names, palette, keys),
    }


def iou_chart(
    class_iou: Sequence[float | None],
    class_pixels: Sequence[int],
    class_names: Sequence[str],
    palette: np.ndarray,
) -> Markup:
    """A bar for each class in its colour, best first, and the mean as a dashed line."""
    total = max(sum(class_pixels), 1)
    return class_bars(
        class_iou,
        class_names,
        palette,
        title="IoU of each class",
        measure="IoU",
        details=[f"{100 * pixels / total:.2g}% of the pixels" for pixels in class_pixels],
    )


def _image_histogram(image_iou: np.ndarray) -> Markup | None:
    if not len(image_iou):
        return None
    percent = 100 * np.asarray(image_iou, np.float64)
    edges = np.linspace(0.0, 100.0, 21)
    heights = np.histogram(percent, edges)[0].astype(float).tolist()
    return histogram_chart(
        {"images": heights},
        edges.tolist(),
        title="Mean IoU within each image",
        x_label="mean IoU (%)",
        y_label="images",
        lines={f"median {np.median(percent):.1f}%": float(np.median(percent))},
        note="Of the classes that are in the image's truth or prediction.",
    )


def legend(class_names: Sequence[str], palette: np.ndarray, *, errors: bool = False) -> Markup:
    """The colour of each class; with `errors` also those of the error panels."""
    keys = color_keys([(name, palette[c]) for c, name in enumerate(class_names)])
    more = color_keys([("wrong", WRONG), ("no label", _NO_LABEL)]) if errors else []
    if len(keys) <= _SHOWN_CLASSES:
        return tag("div", *keys, *more, class_="legend")
    folded = tag(
        "details",
        tag("summary", f"Colours of {len(keys)} classes"),
        tag("div", *keys, class_="legend"),
    )
    return tag("div", folded, *more, class_="legend")


def error_picture(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, C: int) -> Markup:
    """Pale grey where the prediction is right, coloured where it is wrong, dark where nothing counts.

    Args:
        image: [H, W, 3 or 1] uint8.
        truth: [H, W]; a label outside 0 .. C - 1 does not count.
        prediction: [H, W].
        C: number of classes.
    """
    return picture(
        error_map(image, truth, prediction, C),
        description=f"{100 * _wrong_share(truth, prediction, C):.1f}% of the pixels are wrong",
        side=PANEL,
    )


def error_map(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, C: int) -> np.ndarray:
    """The picture [H, W, 3] uint8 of `error_picture`."""
    grey = np.repeat(image.astype(np.float32).mean(-1, keepdims=True), 3, axis=-1)
    counted = (truth >= 0) & (truth < C)
    wrong = counted & (truth != prediction)
    pale = 150 + 0.4 * grey
    shown = np.where(counted[..., None], pale, 0.35 * grey)
    shown = np.where(wrong[..., None], 0.25 * pale + 0.75 * np.asarray(WRONG), shown)
    return np.clip(np.rint(shown), 0, 255).astype(np.uint8)


def _wrong_share(truth: np.ndarray, prediction: np.ndarray, C: int) -> float:
    counted = (truth >= 0) & (truth < C)
    return float((counted & (truth != prediction)).sum() / max(counted.sum(), 1))


def _panels(
    images: Sequence[SegmentedImage],
    class_names: Sequence[str],
    palette: np.ndarray,
    keys: Markup,
) -> Markup | None:
    """A row of four pictures for each image."""
    if not images:
        return None
    rows = [_row(each, class_names, palette) for each in images]
    return tag("div", keys, *rows, class_="card")


def _row(each: SegmentedImage, class_names: Sequence[str], palette: np.ndarray) -> Markup:
    image = to_uint8(each.image)
    C = len(class_names)
    panels = {
        "image": picture(image, description="image", side=PANEL),
        "truth": picture(
            overlay(image, each.truth, palette, opacity=0.75), description="truth", side=PANEL
        ),
        "prediction": picture(
            overlay(image, each.prediction, palette, opacity=0.75),
            description="prediction",
            side=PANEL,
        ),
        "errors": error_picture(image, each.truth, each.prediction, C),
    }
    wrong = _wrong_share(each.truth, each.prediction, C)
    said = [f" mean IoU, {100 * wrong:.1f}% of the pixels wrong"]
    confusion = most_confused_pixels(each.truth, each.prediction, C)
    if confusion is not None:
        true, predicted, fraction = confusion
        said.append(
            f"; most of all {class_names[true]} taken for {class_names[predicted]} "
            f"({100 * fraction:.1f}%)"
        )
    return tag(
        "div",
        tag("div", tag("b", f"{100 * each.mean_iou:.1f}%"), *said),
        tag("div", each.record, class_="record") if each.record else None,
        tag(
            "div",
            *[tag("div", shown, tag("div", name)) for name, shown in panels.items()],
            class_="panels",
        ),
        class_="panel-row",
    )


def most_confused_pixels(
    truth: np.ndarray, prediction: np.ndarray, C: int
) -> tuple[int, int, float] | None:
    """The commonest error of an image: (true class, predicted class, fraction of the valid pixels).

    Example:
        >>> most_confused_pixels(np.array([[0, 1, 1, 255]]), np.array([[0, 0, 1, 1]]), 2)
        (1, 0, 0.3333333333333333)
    """
    counted = (truth >= 0) & (truth < C)
    wrong = counted & (truth != prediction)
    if not wrong.any():
        return None
    pairs = truth[wrong].astype(np.int64) * C + prediction[wrong].astype(np.int64)
    found, counts = np.unique(pairs, return_counts=True)
    best = int(found[counts.argmax()])
    return best // C, best % C, float(counts.max() / counted.sum())


def label_map_samples(
    images: np.ndarray,
    label_maps: np.ndarray,
    class_names: Sequence[str],
    palette: np.ndarray,
) -> Markup:
    """Augmented training images [N, H, W, C], each with its label map [N, H, W] laid over it.

    What shows no colour is ignored: the part of a picture that an augmentation left empty, say.
    """
    cells = []
    for image, label_map in zip(to_uint8(np.asarray(images)), np.asarray(label_maps), strict=True):
        pair = (
            picture(image, description="augmented image", side=_SAMPLE),
            picture(
                overlay(image, label_map, palette), description="with its label map", side=_SAMPLE
            ),
        )
        cells.append(tag("div", *pair, class_="two"))
    gallery = tag("div", *cells, class_="gallery twos maps")
    return tag("div", legend(class_names, palette), gallery, class_="card")
