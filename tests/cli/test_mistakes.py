"""What people get wrong, and what they are told: a table to be read, each row of it tried.

`did` is typed after `jaxcv` in a folder that holds `pictures/` (two classes), `one_class/`, and
`experiment.py`, which trains a small network on the first. `says` is part of the answer: one line, and
never a traceback. Nothing is written but where a run did start.
"""

import json
import os
import shutil
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from jaxcv.cli.main import main
from jaxcv.data import (
    CSV,
    Batches,
    COCODetection,
    DecodeError,
    Folder,
    FrequentIdentities,
    MaskFolder,
    first_record,
)
from jaxcv.train import SetupError, write_config
from jaxcv.train.data_card import DataCard, Fingerprint
from jaxcv.train.divergence import divergence, skipped_updates
from jaxcv.train.logging import ProgressLine, read_rows
from jaxcv.train.setup_warnings import class_warnings
from jaxcv.train.workdir import check_workdir

EXPERIMENT = """
from jaxcv.data import Folder
from jaxcv.models import MLP
from jaxcv.tasks import Classification
from jaxcv.train import Experiment, Optimizer

def experiment():
    return Experiment(
        data=Folder(root="pictures", size=4, test_fraction=0.25),
        model=MLP(num_classes=2, hidden=()),
        task=Classification(num_classes=2),
        optimizer=Optimizer(learning_rate=0.1),
        batch_size=4,
        steps=4,
    )
"""


NAMESPACE = {}
exec(EXPERIMENT, NAMESPACE)
experiment = NAMESPACE["experiment"]


def write_pictures(folder, count, seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The folder in which people type."""
    world = tmp_path_factory.mktemp("world")
    for name in ("ant", "bee"):
        write_pictures(world / "pictures" / name, 8)
    write_pictures(world / "one_class" / "ant", 8)
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            write_pictures(
                world / "uneven" / split / name, 4 if (split, name) != ("test", "bee") else 0
            )
    shutil.copytree(world / "pictures", world / "unreadable")
    for name in ("ant/0", "ant/3", "ant/5", "bee/0", "bee/6", "bee/7"):
        (world / "unreadable" / f"{name}.png").write_bytes(b"")
    (world / "experiment.py").write_text(EXPERIMENT)
    (world / "untrained").mkdir()
    write_config(world / "untrained" / "config.json", experiment())
    return world


@pytest.fixture(autouse=True)
def in_world(world, monkeypatch, quick_compilation):
    monkeypatch.chdir(world)


def answer(capfd, *words):
    """(exit status, all that is said) of a command."""
    try:
        status = main([str(word) for word in words])
    except SystemExit as end:
        status = end.code
    said = capfd.readouterr()
    return status, said.out + said.err


TRAIN = ("train", "experiment.py", "--devices", "1", "--workdir")


# A learning rate far too high.


def refuse_constant(name):
    raise ValueError(f"{name} is no JSON")


def test_a_run_that_diverges_says_so_at_the_first_skip_and_fails(capfd, tmp_path):
    words = (*TRAIN, tmp_path / "run", "--optimizer.learning-rate", "1e38", "--steps", "6")
    status, said = answer(capfd, *words, "--log-every", "2", "--eval-every", "6")
    assert status == 1
    lines = said.splitlines()
    first = next(i for i, line in enumerate(lines) if "this update was skipped" in line)
    assert lines[first].startswith("step 2  ")
    assert "--optimizer.learning-rate" in lines[first]
    assert not any(line.startswith("step 2/6") for line in lines[:first])
    assert any("step 6/6  no loss: all 2 updates were skipped" in line for line in lines)
    assert "the run diverged: all of the last 2 updates were skipped" in lines[-1]
    assert answer(capfd, "evaluate", tmp_path / "run", "--json", tmp_path / "summary.json")[0] == 0
    written = [tmp_path / "summary.json", *(tmp_path / "run").rglob("*.json*")]
    assert {path.name for path in written} > {"metrics.jsonl", "summary.json", "manifest.json"}
    for path in written:
        texts = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        for text in texts:
            json.loads(text, parse_constant=refuse_constant)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "The run diverged: all of the last 2 updates were skipped" in page
    assert "5 updates were skipped between steps 2 and 6" in page
    # It stays failed when it is asked for again.
    assert answer(capfd, *words, "--log-every", "2", "--eval-every", "6")[0] == 1


def test_a_run_that_is_stopped_for_divergence_reports_what_it_had(capfd, tmp_path):
    words = ("--optimizer.learning-rate", "1e38", "--steps", "40", "--max-skipped", "3")
    status, said = answer(capfd, *TRAIN, tmp_path / "run", *words, "--eval-every", "3")
    assert status == 1
    assert "in 3 steps in a row, the last of them step 4" in said
    assert read_rows(tmp_path / "run" / "metrics.jsonl")[-1]["skipped"] == 3
    page = (tmp_path / "run" / "report.html").read_text()
    assert "The run diverged: all of the last 3 updates were skipped" in page


def test_a_single_skip_is_shown_and_is_no_divergence():
    rows = [
        {"step": 50, "split": "train", "skipped": 1, "loss": 0.5},
        {"step": 50, "split": "test", "count": 9, "loss": 0.6},
    ]
    assert divergence(rows) == ""
    assert skipped_updates(rows).startswith("1 update was skipped up to step 50, since")
    assert skipped_updates(rows[1:]) == ""
    assert "test at step 50" in divergence([{**rows[1], "loss": float("nan")}])
    assert divergence([{**rows[1], "loss": float("nan"), "count": 0}]) == ""


# The first line.


def test_a_speed_that_is_not_known_is_not_shown(capfd):
    line = ProgressLine(total_steps=1, step=0, images_per_step=4)
    line.step(1, 0.0)
    line.show({"loss": 0.5})
    assert capfd.readouterr().err == "step 1/1  loss 0.5\n"


# Warnings of a run that starts all the same.


def test_what_is_doubtful_is_said_once_and_the_run_goes_on(capfd, caplog, tmp_path):
    words = ("--data.root", "uneven", "--batch-size", "9", "--steps", "1")
    assert answer(capfd, *TRAIN, tmp_path / "run", *words)[0] == 0
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == [
        "warning: the test set has nothing of the class bee, which has no part in the test figures",
        "warning: batch_size is 9, but there are 8 training records, so that each update sees records "
        "more than once; --batch-size 8 fits",
    ]
    assert "The test set has nothing of the class bee" in (tmp_path / "run/report.html").read_text()


def card(train, test, names="abcdefghij", test_names=None):
    def split(counts, names):
        return Fingerprint(
            count=sum(counts), names="", content="", class_names=names, class_counts=counts
        )

    return DataCard(
        class_names=tuple(names),
        image_shape=(4, 4, 3),
        image_dtype="uint8",
        image_reader=None,
        crop_size=None,
        category_ids=(),
        train=split(train, names),
        test=split(test, test_names or names),
    )


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        (((3, 4), (1, 1)), []),
        (((3, 0), (1, 1)), ["all 3 training records are of one class, a:"]),
        (((3,), (1,)), ["all 3 training records are of one class, a:"]),
        (((), ()), []),  # not known without reading the records
        (((3, 0, 1), (1, 1, 0)), ["training set has nothing of the class b,", "test set has"]),
        (
            ((3, 1) + (0,) * 8, (1,) * 10),
            ["nothing of 8 of 10 classes, each of which is never learned: c, d, e"],
        ),
    ],
)
def test_classes_that_a_split_lacks_are_named(counts, says):
    names = "abcdefghij"[: len(counts[0])]
    found = list(class_warnings(card(*counts, names), counts_objects=False))
    assert len(found) == len(says)
    for text, part in zip(found, says, strict=True):
        assert part in text


def test_one_class_of_objects_and_other_people_in_the_test_set_are_no_mistakes():
    assert not list(class_warnings(card((9,), (9,), "a"), counts_objects=True))
    people = card((3, 3, 3), (2, 0), "abc", test_names="de")
    assert not list(class_warnings(people, counts_objects=False))


# Pictures that cannot be read.


class Damaged:
    """Numbered records, some of which cannot be read; counts how often each was tried."""

    class_names = ()

    def __init__(self, count, bad):
        self.count, self.bad, self.tried = count, bad, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.tried.append(index)
        if index in self.bad:
            raise DecodeError(f"r{index}", "is torn")
        return {"image": np.zeros((2, 2, 1), np.uint8), "label": np.int32(0)}

    def record_name(self, index):
        return f"r{index}"


@pytest.mark.parametrize(
    ("count", "bad", "says"),
    [
        (1, {0}, ""),
        (9, {4}, ""),
        (9, {4, 2, 7}, "; 2 of 8 other records that were tried are unreadable too: r4, r7"),
        (999, {5, 205, 206}, "; 1 of 200 other records that were tried are unreadable too: r205"),
        (
            999,
            set(range(999)),
            "; 10 of 10 other records that were tried are unreadable too: r1, r2",
        ),
    ],
)
def test_all_unreadable_records_are_named_up_to_a_limit(count, bad, says):
    # The first batch is read, or at the start of a run the first record.
    for read in (lambda source: Batches(source, count, shuffle=False)[0], first_record):
        if read is first_record and 0 not in bad:
            continue
        source = Damaged(count, bad)
        with pytest.raises(DecodeError) as caught:
            read(source)
        assert str(caught.value).startswith(f"r{min(bad)}: is torn{says}")
        assert str(caught.value).endswith("or train with --on-bad-record skip")
        assert len(source.tried) <= count + 210


# The table: what is said before anything is trained.


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """Something that is typed, or written into a file, and what is said of it.

    Attributes:
        did: words after `jaxcv`.
        says: parts of the answer.
        file: contents of `own.py`, where the mistake is in there.
        status: of the command.
    """

    did: str
    says: tuple[str, ...]
    file: str | None = None
    status: int = 2


OWN = "train own.py --workdir new"
ONE_CLASS = "--task.num-classes 1 --model.num-classes 1"
MISTAKES = {
    "a work directory inside the data": Mistake(
        did="train experiment.py --workdir pictures/run",
        says=("--workdir pictures/run lies among the data, in pictures", "runs/run"),
    ),
    "a work directory that is the data": Mistake(
        did="train experiment.py --workdir pictures", says=("lies among the data, in pictures",)
    ),
    "the same, through a link": Mistake(
        did="train experiment.py --workdir link/run", says=("lies among the data, in pictures",)
    ),
    "a work directory deep in the data": Mistake(
        did="train experiment.py --workdir ./pictures/ant/../bee/new/run",
        says=("lies among the data, in pictures",),
    ),
    "a work directory that is a file": Mistake(
        did="train experiment.py --workdir experiment.py",
        says=("--workdir experiment.py is a file, but it must be a directory",),
    ),
    "a work directory below a file": Mistake(
        did="train experiment.py --workdir experiment.py/run",
        says=("--workdir experiment.py/run cannot be made:", "experiment.py is no directory"),
    ),
    "a work directory that is a link to nothing": Mistake(
        did="train experiment.py --workdir dangling", says=("--workdir dangling leads nowhere",)
    ),
    "a bracket that is not closed": Mistake(
        did=OWN, file="x = 1\ny = (2\n", says=("own.py, line 2: SyntaxError: '(' was never closed",)
    ),
    "wrong indentation": Mistake(
        did=OWN, file="def f():\nreturn 1\n", says=("own.py, line 2: IndentationError",)
    ),
    "a name that is imported wrongly": Mistake(
        did=OWN,
        file="import os\nfrom jaxcv.data import Foldr\n",
        says=("own.py, line 2: ImportError: cannot import name 'Foldr'",),
    ),
    "a module that is not there": Mistake(
        did=OWN, file="import torchh\n", says=("own.py, line 1: ModuleNotFoundError", "torchh")
    ),
    "a name that is misspelt": Mistake(
        did=OWN,
        file="number = 1\ndef experiment():\n    return numbr\n",
        says=("own.py, line 3: NameError: name 'numbr' is not defined",),
    ),
    "a field that is misspelt": Mistake(
        did=OWN,
        file=EXPERIMENT.replace("batch_size", "batchsize"),
        says=("own.py, line 8: TypeError:", "unexpected keyword argument 'batchsize'"),
    ),
    "sys.exit in the file": Mistake(
        did=OWN, file="import sys\nsys.exit(0)\n", says=("own.py, line 2: SystemExit: 0",)
    ),
    "no function experiment": Mistake(
        did=OWN,
        file="def experiments(): pass\n",
        says=("own.py defines no function experiment(); it must have one", "experiments"),
    ),
    "an experiment that is no function": Mistake(
        did=OWN,
        file="experiment = {}\n",
        says=("its `experiment` is a dict, which cannot be called",),
    ),
    "no return": Mistake(
        did=OWN,
        file="\ndef experiment():\n    pass\n",
        says=("own.py, line 2: experiment() must return a jaxcv.train.Experiment", "returns None"),
    ),
    "a dict": Mistake(
        did=OWN, file="def experiment():\n    return {}\n", says=("but it returns a dict",)
    ),
    "a class": Mistake(
        did=OWN,
        file="from jaxcv.train import Experiment\ndef experiment():\n    return Experiment\n",
        says=("but it returns the class Experiment; are brackets missing after it?",),
    ),
    "a function": Mistake(
        did=OWN,
        file="def build(): pass\ndef experiment():\n    return build\n",
        says=("but it returns the function build; are brackets missing after it?",),
    ),
    "a model without brackets": Mistake(
        did=OWN,
        file=EXPERIMENT.replace("MLP(num_classes=2, hidden=())", "MLP"),
        says=("own.py, line 7: model of the experiment must be a Module, but it is the class MLP",),
    ),
    "a task as a word": Mistake(
        did=OWN,
        file=EXPERIMENT.replace("Classification(num_classes=2)", "'classification'"),
        says=("task of the experiment must be a Task, but it is a str",),
    ),
    "a model that fails": Mistake(
        did=OWN,
        file=EXPERIMENT.replace("MLP(num_classes=2, hidden=())", "Mine()")
        + "import flax.linen as nn\nclass Mine(nn.Module):\n"
        "    def __call__(self, images, *, train=False, mask=None):\n        return imags\n",
        says=("NameError: name 'imags' is not defined", "(own.py, line 19)"),
        status=1,
    ),
    "no pictures to predict": Mistake(
        did="predict untrained", says=("usage: jaxcv predict RUN IMAGE [IMAGE ...]",)
    ),
    "no pictures to predict, but options": Mistake(
        did="predict untrained --output x.jsonl", says=("usage: jaxcv predict RUN IMAGE",)
    ),
    "several pictures that cannot be read": Mistake(
        did="train experiment.py --workdir new --data.root unreadable",
        says=(
            "unreadable/ant/0.png: the file is empty (0 bytes); 4 of 11 other records that were tried are "
            "unreadable too: unreadable/",
            "; mend or remove what is unreadable, or train with --on-bad-record skip",
        ),
    ),
    "one class only": Mistake(
        did=f"train experiment.py --workdir new --strict --data.root one_class {ONE_CLASS}",
        says=("all 6 training records are of one class, ant: there is nothing to tell apart",),
    ),
    "a test set without a class": Mistake(
        did="train experiment.py --workdir new --strict --data.root uneven",
        says=("the test set has nothing of the class bee, which has no part in the test figures",),
    ),
    "a batch larger than the data": Mistake(
        did="train experiment.py --workdir new --strict --batch-size 500",
        says=("batch_size is 500, but there are 12 training records", "--batch-size 12 fits"),
    ),
    "a batch larger than the data, in several parts": Mistake(
        did="train experiment.py --workdir new --strict --batch-size 50 --accumulation 5 --devices 2",
        says=("there are 12 training records", "--batch-size 10 fits"),
    ),
    "a file that is not there": Mistake(
        did="train experimnt.py --workdir new", says=("there is no file experimnt.py",)
    ),
    "a preset that is not there": Mistake(
        did="train digit_lenet --workdir new", says=("did you mean 'digits_lenet'?",)
    ),
    "a command that is not there": Mistake(did="pretict run", says=("did you mean 'predict'?",)),
    "data that are not there": Mistake(
        did="train experiment.py --workdir new --data.root picturs",
        says=("picturs: no such folder",),
    ),
    "a folder without classes": Mistake(
        did="train experiment.py --workdir new --data.root pictures/ant",
        says=("there is no class folder in it; there must be one folder of images per class",),
    ),
    "a number of classes that is not the data's": Mistake(
        did="train experiment.py --workdir new --task.num-classes 3",
        says=("the data have 2 classes (ant, bee), but the task has 3",),
    ),
    "a model of other classes than the task": Mistake(
        did="train experiment.py --workdir new --model.num-classes 3", says=("3",)
    ),
    "a batch of nothing": Mistake(
        did="train experiment.py --workdir new --batch-size 0",
        says=("batch_size is 0, but 1 or more",),
    ),
    "no steps": Mistake(
        did="train experiment.py --workdir new --steps 0",
        says=("the run has 0 steps, but at least 1",),
    ),
    "steps and epochs": Mistake(
        did="train experiment.py --workdir new --epochs 2",
        says=("epochs is 2.0 and steps is 4; give exactly one of them",),
    ),
    "more devices than there are": Mistake(
        did="train experiment.py --workdir new --devices 99",
        says=("--devices 99 was asked for, but there are",),
    ),
    "a batch that cannot be divided": Mistake(
        did="train experiment.py --workdir new --batch-size 6 --devices 1 --accumulation 4",
        says=("accumulation is 4, which does not divide the 6 rows",),
    ),
    "an average that keeps everything": Mistake(
        did="train experiment.py --workdir new --ema-decay 1",
        says=("ema_decay is 1.0, but a number in [0, 1)",),
    ),
    "a checkpoint chosen by a metric that is not logged": Mistake(
        did="train experiment.py --workdir new --keep.best test/acuracy",
        says=(
            "keep.best is 'test/acuracy', which this run never logs; did you mean 'test/accuracy'?",
        ),
    ),
    "a run that is not there": Mistake(
        did="evaluate runs/none", says=("runs/none/config.json does not exist",)
    ),
    "a run that has not been trained": Mistake(
        did="evaluate untrained", says=("untrained holds no checkpoint; train first",)
    ),
    "a picture that is not there": Mistake(
        did="predict untrained none.png", says=("none.png names no image file",)
    ),
    "a folder without pictures": Mistake(
        did="predict untrained untrained", says=("untrained names no image file",)
    ),
    "a report of nothing": Mistake(
        did="report pictures", says=("pictures/config.json does not exist",)
    ),
    "one picture to compare": Mistake(
        did="verify untrained a.png", says=("verify compares two photos, but 1 were given",)
    ),
    "a gallery that is not there": Mistake(
        did="subjects galery", says=("galery holds no gallery (gallery.json is missing)",)
    ),
    "a gallery among the photos": Mistake(
        did="enroll pictures/gallery pictures --workdir untrained",
        says=("the gallery pictures/gallery lies among the photos, in pictures",),
    ),
    "data that TFDS does not know": Mistake(did="data show minst", says=("minst",)),
    "a command of data that is not there": Mistake(
        did="data shw mnist", says=("there is no data command 'shw'; did you mean 'show'?",)
    ),
    "a misspelt module name": Mistake(
        did="train a.b.py --workdir new", says=("use no further dot in its name",)
    ),
}


@pytest.fixture
def own_file(world):
    """Writes `own.py`, of which nothing is left afterwards."""
    links = {"link": "pictures", "dangling": "nowhere"}
    for name, target in links.items():
        (world / name).symlink_to(target)
    (world / "a.b.py").touch()
    yield world / "own.py"
    for name in (*links, "a.b.py"):
        (world / name).unlink()
    (world / "own.py").unlink(missing_ok=True)
    sys.modules.pop("own", None)
    shutil.rmtree(world / "__pycache__", ignore_errors=True)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_said_in_one_line_and_nothing_is_written(name, own_file, world, capfd):
    mistake = MISTAKES[name]
    if mistake.file is not None:
        own_file.write_text(mistake.file)
    before = sorted(world.rglob("*"))
    status, said = answer(capfd, *mistake.did.split())
    assert status == mistake.status, said
    for part in mistake.says:
        assert part in said
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said
    assert "tyro" not in said
    assert [path for path in sorted(world.rglob("*")) if "__pycache__" not in str(path)] == before


def test_runs_among_the_data_are_passed_over(world, tmp_path, caplog):
    """As an earlier version left them, one beside the classes and one in a class."""
    pictures = tmp_path / "pictures"
    shutil.copytree(world / "pictures", pictures)
    for run in (pictures / "runs" / "a", pictures / "b", pictures / "ant" / "c"):
        write_pictures(run / "predictions", 1)
        for name in ("config.json", "run.json"):
            (run / name).write_text("{}")
    source = Folder(root=str(pictures), test_fraction=0.25).open("train")
    assert source.class_names == ("ant", "bee")
    assert "predictions" not in " ".join(map(source.record_name, range(len(source))))
    assert "passed over, of runs: b, runs" in caplog.text
    assert "1 work directory of a run (ant/c)" in caplog.text


def test_data_in_the_work_directory_are_no_harm(world, tmp_path):
    shutil.copytree(world / "pictures", tmp_path / "run" / "pictures")
    check_workdir(tmp_path / "run", Folder(root=str(tmp_path / "run" / "pictures")))


@pytest.mark.parametrize("kind", ["coco", "masks", "csv with a root", "inside"])
def test_every_data_set_with_a_place_keeps_runs_out(tmp_path, kind):
    for name in ("images", "masks", "table"):
        (tmp_path / name).mkdir()
    images, table = str(tmp_path / "images"), str(tmp_path / "table" / "table.csv")
    data = {
        "coco": COCODetection(images=images, annotations="x.json"),
        "masks": MaskFolder(images=images, masks=str(tmp_path / "masks"), class_names=("a", "b")),
        "csv with a root": CSV(path=table, root=images),
        "inside": FrequentIdentities(data=CSV(path=table, root=images), minimum_images=2),
    }[kind]
    places = {"masks": ["images", "masks"]}.get(kind, ["images"])
    for place in places:
        for inner in ("", "run", "some/run"):
            with pytest.raises(SetupError, match=f"lies among the data, in .*{place}"):
                check_workdir(tmp_path / place / inner, data)
    check_workdir(tmp_path / "runs", data)
    check_workdir(tmp_path / f"{places[0]}_run", data)


def test_runs_beside_a_table_are_welcome(tmp_path):
    (tmp_path / "table.csv").touch()
    check_workdir(tmp_path / "runs" / "1", CSV(path=str(tmp_path / "table.csv")))


def test_a_folder_that_may_not_be_written_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for anybody but root
    with pytest.raises(
        SetupError, match=f"new cannot be made: nothing may be written in {tmp_path};"
    ):
        check_workdir(tmp_path / "new", CSV(path="table.csv"))
    with pytest.raises(SetupError, match=f"{tmp_path} cannot be written to; take another"):
        check_workdir(tmp_path, CSV(path="table.csv"))
