"""run.json: which run a work directory holds, written when it starts and compared whenever it is opened."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxcv.atomic import write_text
from jaxcv.json_file import read_json
from jaxcv.train.checks import SetupError
from jaxcv.train.config_file import ConfigError, from_json, to_json
from jaxcv.train.data_card import DataCard, changes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunCard:
    """What a run is.

    Attributes:
        run: digest of configuration and data at the start; every checkpoint of the run bears it.
        config: digest of what config.json says.
        data: the data.
        accepted: changes of the data that the run went on over, in the order they were accepted.
    """

    run: str
    config: str
    data: DataCard
    accepted: tuple[str, ...] = ()

    @classmethod
    def start(cls, workdir: Path, data: DataCard) -> RunCard:
        """The card of a run whose config.json has been written."""
        config = json_digest(read_json(workdir / "config.json"))
        return cls(run=json_digest([config, to_json(data)]), config=config, data=data)

    def accept(self, data: DataCard, changes: list[str]) -> RunCard:
        """The card of the same run over other data."""
        return replace(self, data=data, accepted=(*self.accepted, *changes))


def read_run_card(workdir: str | Path) -> RunCard | None:
    """The card of the run in a work directory; None where an earlier version started the run.

    Raises:
        SetupError: run.json is damaged, or config.json is not the one that the run was started with.
    """
    path = Path(workdir) / "run.json"
    try:
        stored = read_json(path)
    except FileNotFoundError:
        return None
    if not isinstance(stored, dict) or stored.pop("digest", None) != json_digest(stored):
        raise SetupError(f"{path} is damaged or was edited: its digest differs")
    try:
        card = from_json(stored)
    except ConfigError as error:
        raise SetupError(f"{path} cannot be read: {error}") from None
    if not isinstance(card, RunCard):
        raise SetupError(f"{path} holds no card of a run")
    config = path.with_name("config.json")
    if config.exists() and json_digest(read_json(config)) != card.config:
        raise SetupError(
            f"{config} was edited after the run had started: its digest was {card.config[:12]} and is "
            f"{json_digest(read_json(config))[:12]}. Put the file back as it was, or start another run in "
            "another directory"
        )
    return card


def keep_run_card(workdir: Path, data: DataCard, accept: bool = False) -> RunCard:
    """The card of a run that starts or goes on: written where there is none, else compared with the data.

    Args:
        workdir: holds config.json.
        data: as they are now.
        accept: go on over other data; what changed is warned of and written down.

    Raises:
        SetupError: the data are not those that the run started with, or run.json is damaged.
    """
    card = read_run_card(workdir)
    if card is None:
        card = RunCard.start(workdir, data)
        write_run_card(workdir, card)
        return card
    different = list(changes(card.data, data, ("train", "test")))
    if different and not accept:
        raise SetupError(
            f"the data are not those that the run in {workdir} started with: {'; '.join(different)}. Put "
            "them back as they were, take another --workdir, or say --data-changed accept to go on"
        )
    if different:
        logger.warning("going on although the data have changed: %s", "; ".join(different))
        card = card.accept(data, different)
        write_run_card(workdir, card)
    return card


def write_run_card(workdir: Path, card: RunCard) -> None:
    """Writes run.json."""
    body = to_json(card)
    text = json.dumps({"digest": json_digest(body), **body}, indent=2)
    write_text(workdir / "run.json", text + "\n")


def json_digest(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys and the white space in its file."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
