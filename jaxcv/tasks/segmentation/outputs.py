"""What segmentation networks return: logits, or a dict of them and of a second head's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax


def main_logits(outputs: Any) -> jax.Array:
    """The logits [B,H,W,C] of a model that may have a second head."""
    return outputs["logits"] if isinstance(outputs, Mapping) else outputs
