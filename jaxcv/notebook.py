"""What the first cell of a notebook calls."""

import os
from glob import glob

import jax

from jaxcv.cache import enable_compilation_cache


def prepare_notebook() -> None:
    """Keeps compiled programs for the next start, and prints what JAX runs on.

    Where that is not the accelerator of the machine, a warning says so, and what to do about it.
    """
    enable_compilation_cache()
    platform, attached = jax.default_backend(), attached_accelerator()
    kind = jax.devices()[0].device_kind
    print(f"{jax.device_count()} x {kind} ({platform}), jax {jax.__version__}")
    if platform != attached:
        print(
            f"WARNING: this machine has a {attached.upper()}, but JAX runs on {platform}: everything "
            "works, slowly.\nOn Colab choose Runtime > Disconnect and delete runtime and start again; "
            "install no other jax,\njaxlib or libtpu over those of the runtime."
        )


def attached_accelerator() -> str:
    """Names what the machine has, "tpu", "gpu" or "cpu", whether or not JAX can start it."""
    if glob("/dev/accel*") or glob("/dev/vfio/[0-9]*") or "TPU_ACCELERATOR_TYPE" in os.environ:
        return "tpu"
    return "gpu" if glob("/dev/nvidia[0-9]*") else "cpu"
