"""What a verification test of faces has to show: curves, histograms, hardest pairs, people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxcv.metrics.bootstrap import bootstrap_intervals
from jaxcv.metrics.identity_errors import IdentityErrors, hardest_pairs, identity_errors
from jaxcv.metrics.pairs import PairScores
from jaxcv.metrics.verification import (
    FALSE_ACCEPT_RATES,
    Roc,
    area_under_roc,
    equal_error_point,
    equal_error_rate,
    roc,
    true_accept_rate_at,
)
from jaxcv.report.markup import Markup, join, tag
from jaxcv.report.pictures import picture, to_uint8
from jaxcv.report.tables import table
from jaxcv.tasks.faces.charts import det_chart, roc_chart, score_histogram

MAX_PEOPLE = 200
"""How many people the table of errors lists."""


@dataclass(frozen=True, kw_only=True)
class FacePair:
    """Two images, their score and the truth.

    Attributes:
        images: Two of [H, W, C] or [H, W] uint8.
        people: Names of the two people; equal for a genuine pair.
        records: Names of the two records, to find them again.
        score: Higher for more alike.
        same: Whether the pair is genuine.
    """

    images: tuple[np.ndarray, np.ndarray]
    people: tuple[str, str]
    records: tuple[str, str] = ("", "")
    score: float
    same: bool


@dataclass(frozen=True, kw_only=True)
class FaceEvidence:
    """What `face_sections` shows; a part that is missing is left out.

    Attributes:
        scores: [P] scores of the pairs.
        same: [P] bool, whether each is genuine.
        threshold: Where pairs are accepted; None takes the one where both errors are alike.
        intervals: 95% intervals as `bootstrap_intervals` returns them.
        hardest: Pairs to be shown; their order stays.
        errors: Errors per person at the threshold.
        names: [K] names of the people of `errors`.
    """

    scores: np.ndarray
    same: np.ndarray
    threshold: float | None = None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    hardest: Sequence[FacePair] = ()
    errors: IdentityErrors | None = None
    names: Sequence[str] = ()


def face_evidence(
    pairs: PairScores,
    labels: Any,
    *,
    image: Callable[[int], np.ndarray],
    record_name: Callable[[int], str],
    class_names: Sequence[str] = (),
    threshold: float | None = None,
    count: int = 12,
    replicates: int = 200,
) -> FaceEvidence:
    """Collect the evidence from all pairs of a labelled set.

    Args:
        pairs: From `jaxcv.metrics.pair_scores`.
        labels: [N] integers or strings, those given to `pair_scores`.
        image: Image of row i, [H, W, C] uint8.
        record_name: Name of the record of row i.
        class_names: Name of the person with integer label i; labels stand for those missing.
        threshold: Where pairs are accepted; None takes the one where both errors are alike.
        count: How many pairs of each kind to show.
        replicates: Draws for the intervals, by subject; 0 leaves them out.
    """
    labels = np.asarray(labels)
    if threshold is None:
        threshold = equal_error_point(roc(pairs.scores, pairs.same)).threshold

    def name_of(label: Any) -> str:
        if not isinstance(label, np.integer) or not 0 <= label < len(class_names):
            return str(label)
        return class_names[int(label)]

    def face_pair(p: int) -> FacePair:
        i, j = int(pairs.first[p]), int(pairs.second[p])
        return FacePair(
            images=(image(i), image(j)),
            people=(name_of(labels[i]), name_of(labels[j])),
            records=(record_name(i), record_name(j)),
            score=float(pairs.scores[p]),
            same=bool(pairs.same[p]),
        )

    intervals = {}
    if replicates:
        subjects = np.stack((labels[pairs.first], labels[pairs.second]), axis=1)
        intervals = bootstrap_intervals(
            pairs.scores, pairs.same, subjects=subjects, replicates=replicates
        )
    errors = identity_errors(pairs, labels, threshold)
    return FaceEvidence(
        scores=pairs.scores,
        same=pairs.same,
        threshold=threshold,
        intervals=intervals,
        hardest=[face_pair(p) for kind in hardest_pairs(pairs, count) for p in kind],
        errors=errors,
        names=[name_of(label) for label in errors.label],
    )


def face_sections(evidence: FaceEvidence) -> dict[str, Markup | None]:
    """Sections for `write_report(task_sections=...)`: `{heading: content}`.

    Raises:
        ValueError: As `jaxcv.metrics.roc`.
    """
    curve = roc(evidence.scores, evidence.same)
    threshold = evidence.threshold
    if threshold is None:
        threshold = equal_error_point(curve).threshold
    verification = tag(
        "div",
        _tiles(curve, evidence.intervals),
        tag("div", roc_chart(curve), det_chart(curve), class_="pair"),
        tag(
            "div",
            score_histogram(evidence.scores, evidence.same, threshold),
            _operating_points(curve, evidence.intervals),
            class_="pair",
        ),
        class_="stack",
    )
    return {
        "Verification": verification,
        "Hardest pairs": _hardest(evidence.hardest, threshold),
        "Errors per person": _people(evidence.errors, evidence.names),
    }


def _percent(fraction: float) -> str:
    """A fraction in percent with as many digits as tell it from 0 and 100."""
    return f"{100 * fraction:.3g}%" if fraction < 0.01 else f"{100 * fraction:.2f}%"


def _interval(name: str, intervals: Mapping[str, tuple[float, float]]) -> str:
    if name not in intervals:
        return ""
    low, high = intervals[name]
    return f"{100 * low:.1f}–{100 * high:.1f}%"


def _tiles(curve: Roc, intervals: Mapping[str, tuple[float, float]]) -> Markup:
    rows = [
        ("Equal error rate", equal_error_rate(curve), "equal_error_rate"),
        *(
            (
                f"TAR at FAR {_percent(rate)}".replace(".00%", "%"),
                true_accept_rate_at(curve, rate).true_accept_rate,
                f"true_accept_rate_at_far_{rate:g}",
            )
            for rate in (1e-2, 1e-3)
        ),
        ("Area under ROC", area_under_roc(curve), "area_under_roc"),
    ]
    tiles = [
        tag(
            "div",
            tag("div", name, class_="name"),
            tag("div", f"{100 * value:.2f}%", class_="value"),
            tag("div", f"95% CI {found}", class_="more")
            if (found := _interval(key, intervals))
            else None,
            class_="tile",
        )
        for name, value, key in rows
    ]
    pairs = tag(
        "div",
        tag("div", "Pairs", class_="name"),
        tag("div", f"{curve.genuine + curve.impostors:,}", class_="value"),
        tag("div", f"{curve.genuine:,} genuine", class_="more"),
        class_="tile",
    )
    return tag("div", *tiles, pairs, class_="tiles")


def _operating_points(curve: Roc, intervals: Mapping[str, tuple[float, float]]) -> Markup:
    rows = []
    for rate in FALSE_ACCEPT_RATES:
        point = true_accept_rate_at(curve, rate)
        found = _interval(f"true_accept_rate_at_far_{rate:g}", intervals)
        fraction = join(
            _percent(point.true_accept_rate), found and tag("div", found, class_="record")
        )
        is_thin = rate * curve.impostors < 1
        rows.append(
            [
                (f"{100 * rate:g}%" + ("*" if is_thin else ""), rate),
                (fraction, point.true_accept_rate),
                (_percent(point.false_accept_rate), point.false_accept_rate),
                (f"{point.threshold:.4f}", point.threshold),
            ]
        )
    head = ["FAR at most", "TAR, 95% interval" if intervals else "TAR", "FAR reached", "Threshold"]
    equal = equal_error_point(curve)
    note = (
        f"Equal errors at the threshold {equal.threshold:.4f}: FAR {_percent(equal.false_accept_rate)}, "
        f"FRR {_percent(1 - equal.true_accept_rate)}."
    )
    if FALSE_ACCEPT_RATES[-1] * curve.impostors < 1:
        note += (
            f" * Less than one of the {curve.impostors:,} impostor pairs: no impostor is accepted, "
            "and the threshold hangs on a single score."
        )
    return tag(
        "div",
        tag("h3", "Operating points"),
        table(head, rows),
        tag("p", note, class_="note"),
        class_="card",
    )


def _hardest(pairs: Sequence[FacePair], threshold: float) -> Markup | None:
    cards = []
    for kind, title, note in (
        (False, "Different people, most alike", "Impostor pairs with the highest scores."),
        (True, "Same person, least alike", "Genuine pairs with the lowest scores."),
    ):
        cells = [_pair_cell(pair, threshold) for pair in pairs if pair.same is kind]
        if cells:
            gallery = tag("div", *cells, class_="gallery twos")
            heading = tag("h3", title)
            cards.append(tag("div", heading, tag("p", note, class_="note"), gallery, class_="card"))
    return tag("div", *cards, class_="stack") if cards else None


def _pair_cell(pair: FacePair, threshold: float) -> Markup:
    """Two pictures, the score and what became of it, the people, the records."""
    frames = [
        tag("div", picture(to_uint8(image), description=person), class_="frame")
        for image, person in zip(pair.images, pair.people, strict=True)
    ]
    accepted = pair.score >= threshold
    verdict = ("rejected", "accepted")[accepted]
    is_wrong = accepted is not pair.same
    said = tag("span", f"wrongly {verdict}" if is_wrong else verdict, class_=is_wrong and "said")
    who = pair.people[0] if pair.same else join(pair.people[0], " and ", pair.people[1])
    return tag(
        "div",
        tag("div", *frames, class_="two"),
        tag("div", tag("b", f"{pair.score:.3f} "), said),
        tag("div", who),
        tag("div", " · ".join(filter(None, pair.records)), class_="record")
        if any(pair.records)
        else None,
    )


def _people(errors: IdentityErrors | None, names: Sequence[str]) -> Markup | None:
    """A row per person, those with the most errors first; a click on a heading sorts."""
    if errors is None or not len(errors.label):
        return None
    names = names or [str(label) for label in errors.label]
    rejected, accepted = errors.false_reject_rate, errors.false_accept_rate
    order = np.argsort(-(np.nan_to_num(rejected) + np.nan_to_num(accepted)), kind="stable")
    rows = []
    for k in order[:MAX_PEOPLE].tolist():
        partner = int(errors.confused_with[k])
        partner_name = names[partner] if partner >= 0 else ""
        rows.append(
            [
                (names[k], names[k].lower()),
                (f"{errors.images[k]:,}", int(errors.images[k])),
                _rate_cell(rejected[k], errors.false_rejects[k], errors.genuine_pairs[k]),
                _rate_cell(accepted[k], errors.false_accepts[k], errors.impostor_pairs[k]),
                (partner_name or "–", partner_name.lower()),
            ]
        )
    head = ["Person", "Images", "Falsely rejected", "Falsely accepted", "Most often taken for"]
    note = (
        f"At the threshold {errors.threshold:.4f}. A falsely accepted pair counts for both people."
    )
    if len(errors.label) > MAX_PEOPLE:
        note += f" The {MAX_PEOPLE} people with the most errors, of {len(errors.label):,}."
    return tag(
        "div",
        tag("div", table(head, rows, sortable=True), class_="scroll"),
        tag("p", note, class_="note"),
        class_="card",
    )


def _rate_cell(rate: float, wrong: int, pairs: int) -> tuple[Any, float]:
    if not pairs:
        return "–", -1.0
    bar = tag("span", class_="meter", style=f"--share:{100 * rate:.1f}%")
    fraction = tag("span", _percent(float(rate)), class_="percent")
    counts = tag("span", f"{wrong:,} of {pairs:,} ", class_="record")
    return join(counts, bar, fraction), float(rate)
