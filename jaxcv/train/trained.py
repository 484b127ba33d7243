"""A run's weights without its data: what another run, or another program, takes from a work directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxcv.train.checkpoint import Checkpoints
from jaxcv.train.checks import SetupError
from jaxcv.train.config_file import read_config
from jaxcv.train.experiment import Experiment
from jaxcv.train.run_card import read_run_card
from jaxcv.train.state import Variables


@dataclass(frozen=True)
class TrainedModel:
    """The newest checkpoint of a run; its data are not opened.

    Attributes:
        workdir: of the run.
        experiment: what was trained.
        step: of the checkpoint.
        shapes: of the variables, nested dicts of `jax.ShapeDtypeStruct`: those of the moving average
            where the run has one, else of the weights as they are.
    """

    workdir: Path
    experiment: Experiment
    step: int
    shapes: Variables
    _shapes_in_checkpoint: dict[str, Any]

    @classmethod
    def open(cls, workdir: str | Path) -> TrainedModel:
        """Reads what is there, no array yet.

        Raises:
            ValueError: where there is no run, or it has no checkpoint.
        """
        workdir = Path(workdir)
        if not workdir.is_dir():
            raise SetupError(f"there is no directory {workdir}, which should hold a trained run")
        experiment = read_config(workdir / "config.json")
        checkpoints = _checkpoints(workdir)
        step = checkpoints.choose("last")
        found = checkpoints.shapes(step)
        names = ("ema",) if experiment.ema_decay is not None else ("params", "model_state")
        kept = {name: found[name] for name in names if found.get(name)}
        return cls(workdir, experiment, step, _joined(kept), kept)

    def variables(self) -> Variables:
        """The variables, NumPy arrays on this host, for `experiment.model.apply`.

        Raises:
            CheckpointError: where the checkpoint is damaged.
        """
        checkpoints = _checkpoints(self.workdir)
        return _joined(checkpoints.read(self.step, self._shapes_in_checkpoint))


def _checkpoints(workdir: Path) -> Checkpoints:
    card = read_run_card(workdir)
    return Checkpoints(workdir / "checkpoints", run_digest=None if card is None else card.run)


def _joined(parts: dict[str, Any]) -> Variables:
    """The variables from the fields of a `TrainState`."""
    if "ema" in parts:
        return parts["ema"]
    return {"params": parts["params"], **parts.get("model_state", {})}
