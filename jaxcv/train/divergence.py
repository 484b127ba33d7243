"""What the log of a run says about updates that were skipped, and whether the run diverged."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxcv.train.logging import Row
from jaxcv.train.window import REMEDY


def skipped_updates(rows: Sequence[Row]) -> str:
    """How many updates were skipped, and from where on, in a sentence; "" where none was.

    Args:
        rows: of metrics.jsonl.

    Example:
        >>> skipped_updates([{"step": 50, "split": "train", "skipped": 3, "loss": 1.0}])
        '3 updates were skipped up to step 50, since the loss or the gradient was not finite.'
    """
    skipping = [row for row in rows if row["split"] == "train" and row.get("skipped")]
    if not skipping:
        return ""
    count = int(sum(row["skipped"] for row in skipping))
    many, first, last = "s were" if count > 1 else " was", skipping[0]["step"], skipping[-1]["step"]
    where = f"up to step {last}" if first == last else f"between steps {first} and {last}"
    return f"{count} update{many} skipped {where}, since the loss or the gradient was not finite."


def divergence(rows: Sequence[Row]) -> str:
    """Why the weights at the end of the log are not to be used, in a sentence; "" where nothing says so.

    Either no update between the last two rows of training was finite, or the loss of the last evaluation
    is not.

    Args:
        rows: of metrics.jsonl.

    Example:
        >>> divergence([{"step": 50, "split": "train", "skipped": 0, "loss": 1.0}])
        ''
    """
    newest = {row["split"]: row for row in rows}
    training = newest.pop("train", {})
    found = []
    if training.get("skipped") and not math.isfinite(training.get("loss", math.nan)):
        found.append(f"all of the last {int(training['skipped'])} updates were skipped")
    found += [
        f"the loss of {split} at step {row['step']} is not finite"
        for split, row in newest.items()
        if row.get("count") and not math.isfinite(row.get("loss", 0.0))
    ]
    return f"the run diverged: {', '.join(found)}; {REMEDY}" if found else ""
