"""Templates: one embedding for all images and video frames of a person, as IJB-B and IJB-C have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcv.metrics.pairs import indexed_scores, normalized
from jaxcv.metrics.score_checks import checked_embeddings, checked_labels


@dataclass(frozen=True, kw_only=True, eq=False)
class Templates:
    """Templates and their embeddings.

    Attributes:
        template: [T] names of the templates, ascending.
        embeddings: [T, D], of unit length.
    """

    template: np.ndarray
    embeddings: np.ndarray


def template_embeddings(embeddings: Any, media: Any, template: Any) -> Templates:
    """Mean over the frames of a medium, sum over the media of a template, unit length.

    A video counts as one picture however many frames it has (the protocol of IJB-B, Whitelam et
    al. 2017, as evaluated by ArcFace, Deng et al. 2019). Embeddings are taken as they come: long
    ones weigh more. Normalise them first for the variant in which all weigh alike, or multiply them
    by the face detector's scores for the variant that trusts sure detections more. A medium belongs
    to its template: the same number in another template is another medium.

    Args:
        embeddings: [N, D] of all images and frames.
        media: [N] integers or strings, the medium of each: a still, or a video.
        template: [N] integers or strings, the template of each.

    Returns:
        One row per template, in ascending order of its name.

    Raises:
        ValueError: If shapes differ or a value is not finite.

    Example:
        >>> frames = [[4.0, 0.0], [2.0, 0.0], [0.0, 3.0]]  # a video of two frames, and a still
        >>> template_embeddings(frames, [7, 7, 8], [1, 1, 1]).embeddings.round(4).tolist()
        [[0.7071, 0.7071]]
    """
    embeddings = checked_embeddings("embeddings", embeddings)
    if not len(embeddings):
        raise ValueError("there is no embedding to make a template of.")
    media = checked_labels("media", media, len(embeddings))
    template = checked_labels("template", template, len(embeddings))
    names, template = np.unique(template, return_inverse=True)
    media = np.unique(media, return_inverse=True)[1]
    order = np.lexsort((media, template))
    media, template = media[order], template[order]
    starts = np.flatnonzero(
        np.append(True, (media[1:] != media[:-1]) | (template[1:] != template[:-1]))
    )
    frames = np.diff(np.append(starts, len(media)))
    means = np.add.reduceat(embeddings[order].astype(np.float64), starts) / frames[:, None]
    template_starts = np.searchsorted(template[starts], np.arange(len(names)))
    sums = np.add.reduceat(means, template_starts)
    return Templates(template=names, embeddings=normalized(sums).astype(embeddings.dtype))


def template_pair_scores(templates: Templates, first: Any, second: Any) -> np.ndarray:
    """Cosine of each pair of templates, [P].

    Args:
        templates: From `template_embeddings`.
        first, second: [P] names of templates, as the protocol's list of pairs gives them.

    Raises:
        ValueError: If a pair names a template that does not exist.
    """
    return indexed_scores(
        templates.embeddings, _rows_of(templates, first), _rows_of(templates, second)
    )


def _rows_of(templates: Templates, names: Any) -> np.ndarray:
    names = np.asarray(names)
    rows = np.searchsorted(templates.template, names)
    rows = np.minimum(rows, len(templates.template) - 1)
    missing = templates.template[rows] != names
    if missing.any():
        raise ValueError(
            f"{np.sum(missing)} of {len(names)} pairs name a template that has no embedding; the "
            f"first is {names[missing][0]}."
        )
    return rows
