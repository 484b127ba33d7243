"""Draws jaxcv/losses/losses.png: classification losses and their gradients against the margin.

    python scripts/plot_losses.py

Two classes; the margin is the logit of the label less that of its rival. Right of 0 the example is
classified correctly.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from jaxcv import losses

PICTURE = Path(__file__).resolve().parent.parent / "jaxcv" / "losses" / "losses.png"
INK, FAINT = "#222222", "#d8d8d8"
# Okabe and Ito's colours, which people with any colour vision can tell apart; grey for reference.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#AA4499",
    "#777777",
)
Loss = Callable[..., jax.Array]
SHAPING: dict[str, tuple[Loss, str]] = {
    "cross-entropy": (losses.softmax_cross_entropy, GREY),
    "label smoothing 0.1": (
        functools.partial(losses.softmax_cross_entropy, label_smoothing=0.1),
        BLUE,
    ),
    "focal, γ = 2": (losses.softmax_focal_loss, ORANGE),
    "poly-1, ε = 2": (losses.poly1_cross_entropy, GREEN),
    "hinge": (losses.multiclass_hinge_loss, RED),
}
NOISE: dict[str, tuple[Loss, str]] = {
    "cross-entropy": (losses.softmax_cross_entropy, GREY),
    "generalised, q = 0.7": (losses.generalized_cross_entropy, BLUE),
    "absolute error 1 - p": (losses.softmax_absolute_error, ORANGE),
    "bi-tempered 0.8, 1.2": (losses.bi_tempered_loss, GREEN),
    "normalised": (losses.normalized_cross_entropy, RED),
    "bootstrapped, β = 0.8": (
        functools.partial(losses.bootstrapped_cross_entropy, beta=0.8),
        PURPLE,
    ),
}


def curves(loss: Loss, margins: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(loss, minus its derivative in the margin) at every margin."""

    def at(margin: jax.Array) -> jax.Array:
        logits = jnp.stack([jnp.zeros_like(margin), margin])
        return loss(logits[None], jnp.array([1]))[0]

    value, slope = jax.jit(jax.vmap(jax.value_and_grad(at)))(margins)
    return value, -slope


def main() -> None:
    margins = jnp.linspace(-6, 6, 481)
    plt.rcParams.update({"font.size": 9, "text.color": INK, "axes.labelcolor": INK})
    figure, axes = plt.subplots(2, 2, figsize=(9.5, 7), sharex=True, constrained_layout=True)
    for row, (title, table) in zip(
        axes, (("Shaped by difficulty", SHAPING), ("For wrong labels", NOISE)), strict=True
    ):
        for name, (loss, color) in table.items():
            value, pull = curves(loss, margins)
            style = {"color": color, "linewidth": 1.8, "label": name}
            row[0].plot(margins, value, **style)
            row[1].plot(margins, pull, **style)
        row[0].set_ylim(-0.1, 6)
        row[0].set_title(f"{title}: loss", loc="left", fontweight="bold")
        row[1].set_title(f"{title}: pull, -d loss / d margin", loc="left", fontweight="bold")
        row[0].legend(frameon=False)
    for axis in axes.flat:
        axis.set_xlim(-6, 6)
        axis.axvline(0, color=FAINT, linewidth=1, zorder=0)
        axis.axhline(0, color=FAINT, linewidth=1, zorder=0)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[1]:
        axis.set_xlabel("margin: logit of the label less that of the other class")
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})
    print(PICTURE)


if __name__ == "__main__":
    main()
