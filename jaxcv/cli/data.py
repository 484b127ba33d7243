"""`jaxcv data prepare NAME` and `jaxcv data show NAME`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from jaxcv.atomic import replacing
from jaxcv.cli.options import load_preset
from jaxcv.cli.presets import presets
from jaxcv.data import TFDS, TFDSDetection, contact_sheet, prepare
from jaxcv.data.tfds import feature_names
from jaxcv.errors import nearest


def data(words: list[str]) -> int:
    """`jaxcv data prepare NAME` and `jaxcv data show NAME`."""
    commands = {"prepare": data_prepare, "show": data_show}
    if not words or words[0] in ("-h", "--help"):
        print("usage: jaxcv data prepare NAME [...] | jaxcv data show NAME [...]")
        return 0 if words else 2
    return commands[nearest(words[0], commands, "data command")](words[1:])


def data_prepare(words: list[str]) -> int:
    """`jaxcv data prepare NAME`."""

    @dataclass(frozen=True, kw_only=True)
    class Prepare:
        """Prepare a TFDS data set as array_record."""

        name: tyro.conf.Positional[str]
        """Name of the data set, with a version if need be: cifar10, cifar10:3.0.2."""
        data_dir: str | None = None
        """Where prepared data sets go; None: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
        raw_dir: str | None = None
        """A folder that holds the raw files; None looks in TFDS's download folders."""
        download: bool = True
        """Whether raw files that are found nowhere may be downloaded."""

    options = tyro.cli(Prepare, args=words, prog="jaxcv data prepare")
    where = prepare(
        options.name,
        data_dir=options.data_dir,
        raw_dir=options.raw_dir,
        download=options.download,
    )
    print(where)
    return 0


def data_show(words: list[str]) -> int:
    """`jaxcv data show NAME`."""

    @dataclass(frozen=True, kw_only=True)
    class Show:
        """Draw some records of a data set, each under the name of its class."""

        name: tyro.conf.Positional[str]
        """A TFDS name, or a preset, whose data set is then drawn."""
        data_dir: str | None = None
        """Where prepared data sets are; None: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
        split: str = "train"
        """Which split, TFDS slices included; of a preset, train or test."""
        rows: int = 5
        columns: int = 10
        seed: int = 0
        """Another seed chooses other records."""
        output: Path | None = None
        """The picture; None: NAME.png here."""

    options = tyro.cli(Show, args=words, prog="jaxcv data show")
    if options.name in presets():
        source = load_preset(options.name).data.open("test" if options.split == "test" else "train")
    else:
        source = tfds_of_any_kind(options.name, options.split, options.data_dir).open("train")
    output = options.output or Path(options.name.replace("/", "_").replace(":", "_") + ".png")
    sheet = contact_sheet(source, options.rows, options.columns, options.seed)
    with replacing(output) as part:
        sheet.savefig(part)
    print(output)
    return 0


def tfds_of_any_kind(name: str, split: str, data_dir: str | None) -> TFDS:
    """A prepared data set whose training split is `split`: of objects, where it has them, or labels."""
    features = feature_names(name, data_dir)
    if "objects" in features and "label" not in features:
        return TFDSDetection(name=name, train_split=split, data_dir=data_dir, max_boxes=1000)
    return TFDS(name=name, train_split=split, data_dir=data_dir)
