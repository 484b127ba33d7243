"""Checkpoints: Orbax's arrays, a digest of every file, and a directory that is complete or not there.

A checkpoint is written under a hidden name, with a manifest that names each file's SHA-256, synced, and
renamed into place; whatever kills the process, `checkpoints/<step>` is whole. Orbax does not notice a
flipped bit, so restoring verifies the digests first; a checkpoint that fails is renamed `bad-<step>`,
with a message, and the one before it is taken. What is stored is arrays and JSON. Other things in the
directory are nobody's business here: they are neither counted nor deleted.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxcv.atomic import sync, sync_tree
from jaxcv.errors import listed
from jaxcv.train import manifest as manifests
from jaxcv.train.experiment import Keep
from jaxcv.train.leaves import as_key, leaf_digests, over_all_devices, shown_leaf
from jaxcv.train.manifest import Body, CheckpointError

logger = logging.getLogger(__name__)

# Which checkpoint of a run: a step, or what is the newest or the best of them.
Which = int | Literal["best", "last"]
State = TypeVar("State")

_ARRAYS = "state"
_STEP = re.compile(r"0|[1-9][0-9]{0,17}")
# What a kill cuts short, by its name of now and of earlier versions.
_UNFINISHED = re.compile(rf"\.(jaxcv-)?(saving|removing)-({_STEP.pattern})")


def _orbax() -> Any:
    # Imported when the first array is written or read: training starts sooner.
    import orbax.checkpoint as ocp

    # Not `StandardCheckpointer`, which is asynchronous: where it cannot make its directory, threads that
    # wait for one keep the process for ten minutes.
    return ocp.Checkpointer(ocp.StandardCheckpointHandler())


class Checkpoints:
    """The checkpoints of one run, one directory per step.

    Args:
        directory: holds them; made when needed.
        keep: which of them stay.
        run_digest: of what the run is; written into each checkpoint and compared when one is opened.
            None, and checkpoints of earlier versions, are not compared.
    """

    def __init__(
        self, directory: Path, keep: Keep | None = None, *, run_digest: str | None = None
    ) -> None:
        self.directory = Path(directory).absolute()
        self.keep = keep or Keep()
        self.run_digest = run_digest
        if self.keep.last < 1:
            raise ValueError(f"keep.last is {self.keep.last}, but it must be at least 1")

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending; none of them has been verified."""
        return sorted(int(path.name) for path in self._named(_STEP) if _is_ours(path))

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.directory / str(step)

    def check_free(self, step: int, every: int, last: int) -> None:
        """Looks, before the steps are made, whether each checkpoint can be saved.

        Args:
            step: where the run goes on.
            every: steps between checkpoints.
            last: its last step.

        Raises:
            CheckpointError: something foreign lies where one of them belongs.
        """
        for path in self._named(_STEP):
            number = int(path.name)
            if step < number <= last and (number % every == 0 or number == last):
                self._check_place(number)

    def _check_place(self, step: int) -> None:
        path = self.path(step)
        if os.path.lexists(path) and not _is_ours(path):
            raise CheckpointError(
                f"{path} is in the way: the checkpoint of step {step} belongs there, but it is none; "
                "move it elsewhere"
            )

    def save(
        self,
        step: int,
        state: Any,
        metrics: dict[str, float] | None = None,
        *,
        evaluated: bool = True,
    ) -> None:
        """Writes a checkpoint, then removes those that `keep` does not want. A step once saved stays.

        Args:
            step: its name.
            state: pytree of arrays.
            metrics: numbers of the evaluation at this step, by which `keep.best` chooses.
            evaluated: False where the step is still to be evaluated, see `record`.

        Raises:
            CheckpointError: something that is no checkpoint lies in its place.
            OSError: it cannot be written. The other checkpoints are as before.
        """
        self._check_place(step)
        if self.path(step).exists():
            return
        if jax.process_count() > 1:
            # pmap gives each process a state of its own devices; Orbax wants one over all of them.
            state = jax.tree.map(over_all_devices, state)
        saving = self.directory / f".jaxcv-saving-{step}"
        if jax.process_index() == 0:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.clean()
            saving.mkdir()
        multihost_utils.sync_global_devices(f"saving {step}")
        with _orbax() as checkpointer:
            checkpointer.save(saving / _ARRAYS, state)
        leaves = leaf_digests(state)  # Gathers sharded arrays: a call for all processes.
        if jax.process_index() == 0:
            self._write_manifest(saving, step, leaves, metrics or {}, evaluated)
            sync_tree(saving)
            os.replace(saving, self.path(step))
            sync(self.directory)
            self._prune()
        multihost_utils.sync_global_devices(f"saved {step}")

    def _write_manifest(
        self,
        directory: Path,
        step: int,
        leaves: dict[str, Any],
        metrics: dict[str, float],
        evaluated: bool,
    ) -> None:
        body = {
            "step": step,
            "run_digest": self.run_digest,
            "evaluated": evaluated,
            "metrics": _floats(metrics),
            "files": manifests.file_digests(directory),
            "leaves": leaves,
        }
        manifests.write_manifest(directory, body)

    def record(self, step: int, metrics: dict[str, float]) -> None:
        """Adds the evaluation of a step to its checkpoint, then removes those that `keep` does not want.

        Args:
            step: saved with `evaluated=False`.
            metrics: numbers of the evaluation, by which `keep.best` chooses.
        """
        if jax.process_index() == 0:
            body = self.manifest(step)
            body |= {"evaluated": True, "metrics": _floats(metrics)}
            manifests.write_manifest(self.path(step), body)
            self._prune()

    def is_evaluated(self, step: int) -> bool:
        """Whether nothing is left to evaluate at the step of a checkpoint; processes agree.

        Raises:
            CheckpointError: see `manifest`.
        """
        evaluated = jax.process_index() > 0 or self.manifest(step).get("evaluated", True)
        return bool(multihost_utils.broadcast_one_to_all(np.bool_(evaluated)))

    def manifest(self, step: int) -> Body:
        """Reads a manifest and verifies its own digest.

        Raises:
            CheckpointError: where it is missing, no manifest, or changed since it was written.
        """
        return manifests.read_manifest(self.path(step), step)

    def verify(self, step: int) -> Body:
        """Compares every file of a checkpoint with its digest; returns the manifest.

        Raises:
            CheckpointError: naming the first file that is missing, changed or not in the manifest.
        """
        manifest = self.manifest(step)
        manifests.verify_files(self.path(step), manifest)
        return manifest

    def _verify_of_this_run(self, step: int) -> Body:
        manifest = self.verify(step)
        found = manifest.get("run_digest")
        if None not in (found, self.run_digest) and found != self.run_digest:
            raise CheckpointError(
                f"{self.path(step)} is the checkpoint of another run: its configuration has the digest "
                f"{found}, that of this run {self.run_digest}"
            )
        return manifest

    def restore(self, like: State, step: int) -> State:
        """Reads one checkpoint, verified.

        Args:
            like: pytree of `jax.ShapeDtypeStruct` or arrays with the structure, shapes, dtypes and
                shardings of the result.
            step: which one.

        Raises:
            CheckpointError: where it is damaged, of another run, or holds other shapes or dtypes than
                `like`.
        """
        leaves = self._verify_of_this_run(step)["leaves"]
        unexpected = dict(leaves)
        for path, leaf in jax.tree_util.tree_leaves_with_path(like):
            found = unexpected.pop(jax.tree_util.keystr(path), None)
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                continue
            wanted = {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}
            if found is None or wanted != {k: found[k] for k in wanted}:
                raise CheckpointError(
                    f"{self.path(step)} does not fit this run: {jax.tree_util.keystr(path)} is "
                    f"{shown_leaf(found)} there, but {shown_leaf(wanted)} here"
                )
        if unexpected:
            raise CheckpointError(
                f"{self.path(step)} does not fit this run: it holds {next(iter(unexpected))}, which the "
                "run has not"
            )
        with _orbax() as checkpointer:
            state = checkpointer.restore(self.path(step) / _ARRAYS, like)
        self._compare_leaves(step, leaves, leaf_digests(state))
        return state

    def _compare_leaves(
        self, step: int, written: dict[str, Any], found: dict[str, dict[str, Any]]
    ) -> None:
        """Raises CheckpointError where arrays that were read are not those that were written."""
        for name, leaf in found.items():
            digest = written.get(name, {}).get("sha256", "none")
            if leaf["sha256"] != digest:
                raise CheckpointError(
                    f"{self.path(step)} is damaged: {name} has the digest {leaf['sha256']}, but the "
                    f"manifest says {digest}"
                )

    def shapes(self, step: int) -> dict[str, Any]:
        """The arrays of a checkpoint as nested dicts of `jax.ShapeDtypeStruct`, {} for empty parts."""
        with _orbax() as checkpointer:
            found = checkpointer.metadata(self.path(step) / _ARRAYS).item_metadata.tree
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), found)

    def read(self, step: int, shapes: dict[str, Any]) -> dict[str, Any]:
        """Reads parts of one checkpoint, verified, into this host's memory.

        Args:
            step: which one.
            shapes: a part of `shapes(step)`.

        Raises:
            CheckpointError: where the checkpoint is damaged, or of another run.
        """
        import orbax.checkpoint as ocp

        leaves = self._verify_of_this_run(step)["leaves"]
        restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            parts = checkpointer.restore(
                self.path(step) / _ARRAYS,
                args=ocp.args.PyTreeRestore(
                    item=shapes, restore_args=restore_args, partial_restore=True
                ),
            )
        # A field of a dataclass is a key of a dict here.
        written = {as_key(name): leaf for name, leaf in leaves.items()}
        self._compare_leaves(step, written, leaf_digests(parts))
        return parts

    def restore_newest(self, like: State) -> State | None:
        """Reads the newest checkpoint that is whole, None without any; damaged ones are set aside.

        Raises:
            CheckpointError: where a whole checkpoint is another run's, see `restore`.
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

    def choose(self, which: Which = "last") -> int:
        """The step of a checkpoint that is there.

        Args:
            which: a step, "last" for the newest, or "best" for the best by `keep.best`.

        Raises:
            CheckpointError: there is no such checkpoint; the message says which there are.
        """
        steps, run = self.steps(), self.directory.parent
        there = listed(list(map(str, steps)))
        if not steps:
            raise CheckpointError(f"{run} holds no checkpoint; train first")
        if which == "last":
            return steps[-1]
        if which == "best":
            best = None if self.keep.best is None else self.best_step()
            if best is None:
                why = (
                    f"no checkpoint has {self.keep.best}"
                    if self.keep.best
                    else "keep.best is not set"
                )
                raise CheckpointError(
                    f"{run} knows no best checkpoint: {why}; take --step last, or a step of {there}"
                )
            return best
        if which not in steps:
            raise CheckpointError(f"{run} holds no checkpoint of step {which}; it has {there}")
        return int(which)

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
            os.replace(self.path(step), self.directory / f".jaxcv-removing-{step}")
        self.clean()

    def clean(self) -> None:
        """Deletes what was being written or removed when a process was killed."""
        for path in self._named(_UNFINISHED):
            if path.is_dir() and not path.is_symlink():
                # What cannot be deleted now is tried again at the next save.
                shutil.rmtree(path, ignore_errors=True)

    def _named(self, pattern: re.Pattern[str]) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return [path for path in self.directory.iterdir() if pattern.fullmatch(path.name)]


def _is_ours(path: Path) -> bool:
    """Whether a directory is a checkpoint, whole or damaged: it holds arrays or a manifest."""
    return path.is_dir() and any(os.path.lexists(path / name) for name in (_ARRAYS, manifests.FILE))


def _floats(metrics: dict[str, float]) -> dict[str, float]:
    """Without those that are not finite: they are never best, and JSON knows none."""
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
