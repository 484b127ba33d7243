"""Two faces side by side, with their score: what a comparison rests on, to be looked at."""

from typing import TYPE_CHECKING

import numpy as np

from jaxcv.names import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SAME, _DIFFERENT, _GREY = "#0072B2", "#D55E00", "#888888"


def pair_figure(
    faces: tuple[np.ndarray, np.ndarray],
    names: tuple[str, str],
    *,
    score: float,
    threshold: float,
) -> "Figure":
    """Draws two aligned faces, and below them where their score lies.

    Args:
        faces: two of uint8 [H, W, C], C = 1 or 3, as the model sees them.
        names: what stands above each; long ones are cut at the left.
        score: cosine in [-1, 1].
        threshold: the pair is taken for one person where `score >= threshold`.

    Returns:
        A matplotlib figure that belongs to no window; `figure.savefig(path)` writes it.

    Example:
        >>> grey = np.zeros((8, 8, 1), np.uint8)
        >>> figure = pair_figure((grey, grey), ("a.jpg", "b.jpg"), score=0.7, threshold=0.4)
        >>> figure.get_suptitle()
        'same person: score 0.700, threshold 0.400'
    """
    from matplotlib.figure import Figure

    is_same = score >= threshold
    color = _SAME if is_same else _DIFFERENT
    height, width = faces[0].shape[:2]
    shown = 2.6 * height / width  # inches; each face is 2.6 wide
    total = shown + 1.15
    figure = Figure(figsize=(5.6, total), dpi=120)
    for place, (face, name) in enumerate(zip(faces, names, strict=True)):
        left, bottom = (0.15 + 2.7 * place) / 5.6, 0.6 / total
        axes = figure.add_axes((left, bottom, 2.6 / 5.6, shown / total))
        picture = face[..., 0] if face.shape[-1] == 1 else face
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
        title = printable(name)
        title = title if len(title) <= 34 else "…" + title[-33:]
        axes.set_title(title, fontsize=8, pad=4, parse_math=False)
        axes.set_axis_off()
    verdict = "same person" if is_same else "different people"
    figure.suptitle(
        f"{verdict}: score {score:.3f}, threshold {threshold:.3f}",
        fontsize=11,
        color=color,
        y=1 - 0.08 / total,
        va="top",
    )
    scale = figure.add_axes((0.4 / 5.6, 0.34 / total, 4.8 / 5.6, 0.16 / total))
    low = min(-0.25, score - 0.05, threshold - 0.05)
    scale.set(xlim=(low, 1.0), ylim=(0, 1), yticks=[])
    scale.axvspan(threshold, 1.0, color=_SAME, alpha=0.15, linewidth=0)
    scale.axvline(threshold, color=_GREY, linewidth=1.5)
    scale.plot([score], [0.5], "o", color=color, markersize=7, clip_on=False)
    scale.tick_params(labelsize=7, length=2)
    for side in ("top", "left", "right"):
        scale.spines[side].set_visible(False)
    return figure
