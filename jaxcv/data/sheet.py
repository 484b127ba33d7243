"""A labelled sheet of records, to look at a data set before training on it."""

import colorsys
from typing import TYPE_CHECKING

import numpy as np

from jaxcv.data.order import permutation
from jaxcv.data.segmentation.masks import class_colors
from jaxcv.data.source import Record, Source
from jaxcv.names import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def contact_sheet(source: Source, rows: int = 5, columns: int = 10, seed: int = 0) -> "Figure":
    """Draws randomly chosen records in a grid, each under the name of its class.

    A label map is laid over its image in the colours of `class_colors`, ignored pixels left free;
    the two largest classes stand above, and which colour is which below the grid. Boxes are drawn in
    those of `box_colors`, dotted where an object is ignored; above stands how many there are of the
    two commonest classes. A float map, such as a depth or a target picture, stands to the right of
    its image.

    Args:
      source: records with `image` uint8 [H, W, C] and `label`, a number or a map [H, W]; or with
        `boxes` [M, 4] and `classes` [M].
      rows: of the grid; fewer where the source holds less.
      columns: of the grid.
      seed: another seed chooses other records.

    Returns:
      A matplotlib figure that belongs to no window; `figure.savefig(path)` writes it.

    Example:
      >>> from jaxcv.data import Digits
      >>> len(contact_sheet(Digits().open("train"), rows=2, columns=3).axes)
      6
    """
    from matplotlib.figure import Figure

    if rows < 1 or columns < 1:
        raise ValueError(f"the sheet needs at least one row and one column, not {rows}x{columns}")
    chosen = permutation(seed, 0, len(source))[: rows * columns]
    rows = -(-len(chosen) // columns)
    height = 1.4 * rows + 0.4  # inches; the last 0.4 for the line above the grid
    figure = Figure(figsize=(1.2 * columns, height), dpi=100)
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.6 / height, wspace=0.08, hspace=0.25)
    shown: set[int] = set()  # classes in label maps or of boxes
    colors = class_colors(max(len(source.class_names), 1))
    for place, index in enumerate(chosen.tolist()):
        record = source[index]
        axes = figure.add_subplot(rows, columns, place + 1)
        image = np.asarray(record["image"])
        label = np.asarray(record.get("label", 0))
        if label.ndim >= 2 and label.dtype.kind == "f":
            image = np.concatenate([image, _target_picture(label, image.shape[-1])], axis=1)
        axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        if "boxes" in record:
            colors = box_colors(len(source.class_names))
            shown.update(_draw_boxes(axes, record, source))
            axes.set_title(_counts_caption(source, record), fontsize=7, parse_math=False)
        else:
            if label.ndim == 2 and label.dtype.kind in "iu":
                axes.imshow(_overlay(label, source))
                shown.update(np.unique(label).tolist())
            axes.set_title(_caption(source, label), fontsize=7, parse_math=False)
        axes.set_axis_off()
    first = printable(source.record_name(int(chosen[0])))
    count = len(source.class_names)
    classes = f", {count} classes" if count else ""
    figure.suptitle(
        f"{len(source)} records{classes}; the first shown is {first}",
        fontsize=9,
        y=1 - 0.1 / height,
        va="top",
        parse_math=False,
    )
    _add_legend(figure, source, sorted(shown), colors / 255)
    return figure


def _target_picture(label: np.ndarray, channels: int) -> np.ndarray:
    """A float map [H, W] or [H, W, C] as a picture: uint8 [H, W, channels], black its least value."""
    low, high = float(label.min()), float(label.max())
    low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    levels = np.round(255 * (label - low) / max(high - low, 1e-12)).astype(np.uint8)
    levels = levels[..., None] if levels.ndim == 2 else levels
    return levels if levels.shape[-1] == channels else np.repeat(levels[..., :1], channels, axis=-1)


def _overlay(label: np.ndarray, source: Source) -> np.ndarray:
    """Colours float [H, W, 4] of a label map: half transparent, wholly so where it is no class."""
    count = len(source.class_names)
    valid = (label >= 0) & (label < count)
    colors = class_colors(max(count, 1)) / 255
    picture = np.zeros((*label.shape, 4))
    picture[..., :3] = colors[np.where(valid, label, 0)]
    picture[..., 3] = 0.6 * valid
    return picture


def box_colors(count: int) -> np.ndarray:
    """Returns uint8 [count, 3], a bright colour for each class, neighbours far apart.

    The hue goes on by the golden ratio of a turn, from green.

    Example:
      >>> box_colors(2).tolist()
      [[38, 255, 38], [255, 38, 101]]
    """
    hues = (1 / 3 + np.arange(count) * 0.618034) % 1
    colors = [colorsys.hsv_to_rgb(hue, 0.85, 1.0) for hue in hues]
    return np.round(255 * np.asarray(colors).reshape(-1, 3)).astype(np.uint8)


def _draw_boxes(axes: "Axes", record: Record, source: Source) -> set[int]:
    """Draws the boxes of a record and returns their classes."""
    from matplotlib.patches import Rectangle

    classes = np.asarray(record["classes"])
    ignored = np.asarray(record.get("ignored", np.zeros(classes.shape, bool)))
    colors = box_colors(len(source.class_names)) / 255
    for (x0, y0, x1, y1), label, dashed in zip(record["boxes"], classes, ignored):
        if _is_class(source, label):
            # Matplotlib has the middle of the first pixel at 0.
            box = Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, linewidth=1)
            box.set(edgecolor=tuple(colors[label]), linestyle=":" if dashed else "-")
            axes.add_patch(box)
    return set(classes.tolist())


def _add_legend(figure: "Figure", source: Source, labels: list[int], colors: np.ndarray) -> None:
    """A line of colours and names of the classes shown, in room added below the grid."""
    from matplotlib.patches import Patch

    names = {label: source.class_names[label] for label in labels if _is_class(source, label)}
    if not names:
        return
    width, height = figure.get_size_inches()
    columns = max(1, int(width / 1.3))
    room = 0.2 * -(-len(names) // columns) + 0.1  # inches
    old = figure.subplotpars
    figure.set_size_inches(width, height + room)
    top = 1 - (1 - old.top) * height / (height + room)
    figure.subplots_adjust(bottom=(old.bottom * height + room) / (height + room), top=top)
    patches = [
        Patch(color=tuple(colors[label]), label=printable(name)) for label, name in names.items()
    ]
    legend = figure.legend(
        handles=patches, loc="lower center", ncols=columns, fontsize=7, frameon=False, borderpad=0
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _is_class(source: Source, label: int) -> bool:
    return 0 <= label < len(source.class_names)


def _caption(source: Source, label: np.ndarray) -> str:
    if label.ndim >= 2 and label.dtype.kind == "f":
        return f"{label.min():.3g} to {label.max():.3g}"
    if label.ndim == 2:
        values, counts = np.unique(label, return_counts=True)
        largest = [v for v in values[np.argsort(-counts)].tolist() if _is_class(source, v)][:2]
        return _short(", ".join(source.class_names[v] for v in largest)) if largest else "ignored"
    value = label.item()
    return _short(source.class_names[value]) if _is_class(source, value) else f"{value:g}"


def _counts_caption(source: Source, record: Record) -> str:
    classes = np.asarray(record["classes"])
    values, counts = np.unique(classes[classes >= 0], return_counts=True)
    commonest = np.argsort(-counts, kind="stable")[:2]
    named = [f"{counts[i]} {source.class_names[values[i]]}" for i in commonest]
    return _short(", ".join(named)) if named else "no objects"


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= 18 else text[:17] + "…"
