"""Checkpoints: Orbax's arrays, a digest of every file, and a directory that is complete or not there.

A checkpoint is written under a hidden name, with a manifest that names each file's SHA-256, and renamed
into place; whatever kills the process, `checkpoints/<step>` is whole. Orbax does not notice a flipped
bit, so restoring verifies the digests first; a checkpoint that fails is renamed `bad-<step>`, with a
message, and the one before it is taken. What is stored is arrays and JSON.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxcv.train.experiment import Keep
from jaxcv.train.parallel import DeviceMap

logger = logging.getLogger(__name__)

State = TypeVar("State")

_MANIFEST = "manifest.json"
_ARRAYS = "state"


class CheckpointError(ValueError):
    """A checkpoint that does not fit the run, or is damaged. The message names the file."""


def leaf_digests(state: Any) -> dict[str, dict[str, Any]]:
    """Gives shape, dtype and SHA-256 of each array; equal states have equal digests.

    Args:
        state: pytree of arrays and PRNG keys.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): _leaf_digest(leaf) for path, leaf in leaves}


def _leaf_digest(leaf: Any) -> dict[str, Any]:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = _whole(leaf)
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
    }


def _orbax() -> Any:
    # Imported when the first array is written or read: training starts sooner.
    import orbax.checkpoint as ocp

    return ocp.StandardCheckpointer()


def _over_all_devices(leaf: Any) -> Any:
    return leaf if _is_sharded(leaf) else DeviceMap().replicate(leaf)


def _is_sharded(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not leaf.is_fully_replicated


def _whole(leaf: Any) -> np.ndarray:
    """An array on this host, whatever part of it each process holds."""
    if _is_sharded(leaf) and not leaf.is_fully_addressable:
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _body_digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class Checkpoints:
    """The checkpoints of one run, one directory per step.

    Args:
        directory: holds them; made when needed.
        keep: which of them stay.
    """

    def __init__(self, directory: Path, keep: Keep | None = None) -> None:
        self.directory = Path(directory).absolute()
        self.keep = keep or Keep()
        if self.keep.last < 1:
            raise ValueError(f"keep.last is {self.keep.last}, but at least 1 is wanted")

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending; none of them has been verified."""
        if not self.directory.exists():
            return []
        return sorted(int(p.name) for p in self.directory.iterdir() if p.name.isdigit())

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.directory / str(step)

    def save(self, step: int, state: Any, metrics: dict[str, float] | None = None) -> None:
        """Writes a checkpoint, then removes those that `keep` does not want. A step once saved stays.

        Args:
            step: its name.
            state: pytree of arrays.
            metrics: numbers of the evaluation at this step, by which `keep.best` chooses.
        """
        if self.path(step).exists():
            return
        if jax.process_count() > 1:
            # pmap gives each process a state of its own devices; Orbax wants one over all of them.
            state = jax.tree.map(_over_all_devices, state)
        saving = self.directory / f".saving-{step}"
        if jax.process_index() == 0:
            self.directory.mkdir(parents=True, exist_ok=True)
            for leftover in self.directory.glob(".*-*"):
                shutil.rmtree(leftover)
            saving.mkdir()
        multihost_utils.sync_global_devices(f"saving {step}")
        with _orbax() as checkpointer:
            checkpointer.save(saving / _ARRAYS, state)
        leaves = leaf_digests(state)  # Gathers sharded arrays: a call for all processes.
        if jax.process_index() == 0:
            self._write_manifest(saving, step, leaves, metrics or {})
            os.replace(saving, self.path(step))
            self._prune()
        multihost_utils.sync_global_devices(f"saved {step}")

    def _write_manifest(
        self, directory: Path, step: int, leaves: dict[str, Any], metrics: dict[str, float]
    ) -> None:
        files = sorted(p for p in directory.rglob("*") if p.is_file())
        body = {
            "step": step,
            "metrics": {name: float(value) for name, value in metrics.items()},
            "files": {p.relative_to(directory).as_posix(): _file_digest(p) for p in files},
            "leaves": leaves,
        }
        with (directory / _MANIFEST).open("w") as file:
            json.dump({"digest": _body_digest(body), **body}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())

    def manifest(self, step: int) -> dict[str, Any]:
        """Reads a manifest and verifies its own digest.

        Raises:
            CheckpointError: where it is missing, no JSON, or changed since it was written.
        """
        path = self.path(step) / _MANIFEST
        try:
            manifest = json.loads(path.read_bytes())
            digest = manifest.pop("digest")
        except FileNotFoundError:
            raise CheckpointError(f"{path} is missing") from None
        except (ValueError, KeyError, AttributeError):
            raise CheckpointError(f"{path} is damaged: no valid manifest") from None
        if digest != _body_digest(manifest):
            raise CheckpointError(f"{path} is damaged: its digest differs")
        return manifest

    def verify(self, step: int) -> dict[str, Any]:
        """Compares every file of a checkpoint with its digest; gives the manifest.

        Raises:
            CheckpointError: naming the first file that is missing, changed or not in the manifest.
        """
        manifest, root = self.manifest(step), self.path(step)
        for name, digest in manifest["files"].items():
            if not (root / name).is_file():
                raise CheckpointError(f"{root / name} is missing")
            if _file_digest(root / name) != digest:
                raise CheckpointError(f"{root / name} is damaged: its digest differs")
        return manifest

    def restore(self, like: State, step: int) -> State:
        """Reads one checkpoint, verified.

        Args:
            like: pytree of `jax.ShapeDtypeStruct` or arrays with the structure, shapes, dtypes and
                shardings wanted.
            step: which one.

        Raises:
            CheckpointError: where it is damaged, or holds other shapes or dtypes than `like`.
        """
        manifest = self.verify(step)
        for path, leaf in jax.tree_util.tree_leaves_with_path(like):
            found = manifest["leaves"].pop(jax.tree_util.keystr(path), None)
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                continue
            wanted = {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}
            if found is None or wanted != {k: found[k] for k in wanted}:
                raise CheckpointError(
                    f"{self.path(step)} does not fit this run: {jax.tree_util.keystr(path)} is "
                    f"{_shown(found)} there, but {_shown(wanted)} is wanted"
                )
        if manifest["leaves"]:
            name = next(iter(manifest["leaves"]))
            raise CheckpointError(
                f"{self.path(step)} does not fit this run: it holds {name}, which the run has not"
            )
        with _orbax() as checkpointer:
            return checkpointer.restore(self.path(step) / _ARRAYS, like)

    def shapes(self, step: int) -> dict[str, Any]:
        """The arrays of a checkpoint as nested dicts of `jax.ShapeDtypeStruct`, {} for empty parts."""
        with _orbax() as checkpointer:
            found = checkpointer.metadata(self.path(step) / _ARRAYS).item_metadata.tree
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), found)

    def read(self, step: int, shapes: dict[str, Any]) -> dict[str, Any]:
        """Reads parts of one checkpoint, verified, into this host's memory.

        Args:
            step: which one.
            shapes: what is wanted of `shapes(step)`.

        Raises:
            CheckpointError: where the checkpoint is damaged.
        """
        import orbax.checkpoint as ocp

        self.verify(step)
        restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            return checkpointer.restore(
                self.path(step) / _ARRAYS,
                args=ocp.args.PyTreeRestore(
                    item=shapes, restore_args=restore_args, partial_restore=True
                ),
            )

    def restore_newest(self, like: State) -> State | None:
        """Reads the newest checkpoint that is whole, or gives None; damaged ones are set aside.

        Raises:
            CheckpointError: where a whole checkpoint holds other shapes or dtypes than `like`.
        """
        step = self.newest_whole()
        return None if step is None else self.restore(like, step)

    def newest_whole(self) -> int | None:
        """The newest step whose checkpoint is whole, or None; damaged ones are set aside.

        One process looks, so that all restore the same step.
        """
        newest = self._newest_whole() if jax.process_index() == 0 else None
        step = int(multihost_utils.broadcast_one_to_all(np.int32(-1 if newest is None else newest)))
        return None if step < 0 else step

    def _newest_whole(self) -> int | None:
        for step in reversed(self.steps()):
            try:
                self.verify(step)
            except CheckpointError as error:
                self._set_aside(step, error)
            else:
                return step
        return None

    def _set_aside(self, step: int, error: CheckpointError) -> None:
        aside = self.directory / f"bad-{step}"
        while aside.exists():
            aside = aside.with_name(aside.name + "-again")
        os.replace(self.path(step), aside)
        logger.warning("%s. Set aside as %s; going on from the checkpoint before it", error, aside)

    def best_step(self) -> int | None:
        """The step whose metric `keep.best` is best, or None; NaN and infinity never are."""
        scores = {}
        for step in self.steps():
            try:
                value = self.manifest(step)["metrics"].get(self.keep.best, math.nan)
            except CheckpointError:
                continue
            if math.isfinite(value):
                scores[step] = value if self.keep.mode == "max" else -value
        # Of equals the earliest, whatever else has been kept.
        return max(scores, key=lambda step: (scores[step], -step)) if scores else None

    def _prune(self) -> None:
        steps = self.steps()
        kept = set(steps[-self.keep.last :])
        if self.keep.every:
            kept |= {step for step in steps if step % self.keep.every == 0}
        if self.keep.best:
            kept |= {self.best_step()}  # type: ignore[arg-type]
        for step in set(steps) - kept:
            # Renamed first: a kill half-way through must not leave half a checkpoint behind.
            removing = self.directory / f".removing-{step}"
            os.replace(self.path(step), removing)
            shutil.rmtree(removing)


def _shown(leaf: dict[str, Any] | None) -> str:
    return "absent" if leaf is None else f"{leaf['dtype']}{leaf['shape']}"
