"""A labelled sheet of records, to look at a data set before training on it."""

from typing import TYPE_CHECKING

import numpy as np

from jaxcv.data.batches import permutation
from jaxcv.data.source import Source

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def contact_sheet(source: Source, rows: int = 5, columns: int = 10, seed: int = 0) -> "Figure":
    """Draws randomly chosen records in a grid, each under the name of its class.

    Args:
      source: records with `image` uint8 [H, W, C] and `label`.
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
    for place, index in enumerate(chosen.tolist()):
        record = source[index]
        axes = figure.add_subplot(rows, columns, place + 1)
        image = np.asarray(record["image"])
        axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(_caption(source, record["label"]), fontsize=7)
        axes.set_axis_off()
    first = source.record_name(int(chosen[0]))
    count = len(source.class_names)
    classes = f", {count} classes" if count else ""
    figure.suptitle(
        f"{len(source)} records{classes}; the first shown is {first}",
        fontsize=9,
        y=1 - 0.1 / height,
        va="top",
    )
    return figure


def _caption(source: Source, label: np.ndarray) -> str:
    value = np.asarray(label).item()
    if 0 <= value < len(source.class_names):
        name = source.class_names[value]
        return name if len(name) <= 18 else name[:17] + "…"
    return f"{value:g}"
