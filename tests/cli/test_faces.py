"""The commands on faces, as a user meets them: verify, enroll, search, remove, evaluate --pairs."""

import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from jaxcv.cli.main import main
from jaxcv.faces.gallery.encryption import digest, new_key
from jaxcv.faces.gallery.header import complete
from jaxcv.train import Runtime, train
from tests.synthetic_people import experiment, write_people


def run(capsys, *words):
    """Gives (exit status, stdout, stderr)."""
    try:
        status = main([str(word) for word in words])
    except SystemExit as exit:  # tyro ends the process itself
        status = exit.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder with people/, and run/ trained on them."""
    room = tmp_path_factory.mktemp("faces")
    write_people(room / "people")
    train(experiment(room / "people", ema_decay=0.5), room / "run", Runtime(devices=1))
    return room


@pytest.fixture
def here(room, tmp_path, monkeypatch):
    """The words for the run, in an empty current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JAXCV_GALLERY_KEY", raising=False)
    return tmp_path


def photo(room, person, number):
    return room / "people" / f"p{person}" / f"p{person}_{number:04d}.png"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


ONE = ("--devices", "1")


def test_verify_tells_score_threshold_and_decision_and_draws_the_pair(room, here, capsys):
    rows = [json.loads(line) for line in (room / "run/metrics.jsonl").read_text().splitlines()]
    stored = {(row["split"], row["step"]): row.get("threshold_at_far_0.1") for row in rows}
    same = ("verify", room / "run", photo(room, 0, 1), photo(room, 0, 1), "--aligned", *ONE)
    status, out, _ = run(capsys, *same, "--false-accept-rate", "0.1")
    assert status == 0
    assert "score      1.0000" in out
    assert f"threshold  {stored['test', 4]:.4f}" in out
    assert "evaluation of step 4 in metrics.jsonl" in out
    assert "decision   same person" in out
    with Image.open(here / "pair.png") as picture:
        assert picture.size[0] > 500

    # No evaluation has stored a threshold at the default rate.
    status, out, _ = run(capsys, *same)
    assert status == 0
    assert "false accept rate 0.01 on 75 impostor pairs of the test set, evaluated now" in out
    averaged = (*same, "--ema", "--false-accept-rate", "0.1", "--step", "2")
    assert f"threshold  {stored['test_ema', 2]:.4f}" in run(capsys, *averaged)[1]

    status, out, _ = run(
        capsys, "verify", room / "run", photo(room, 0, 1), photo(room, 1, 1), "--aligned", *ONE,
        "--threshold", "0.9999", "--output", here / "others.png",
    )  # fmt: skip
    assert status == 0
    assert "threshold  0.9999  (as given)" in out
    assert "decision   different people" in out
    assert (here / "others.png").exists()


def test_enroll_search_remove(room, here, capsys):
    gallery, known = here / "gallery", ("--workdir", room / "run", "--aligned", *ONE)
    status, out, _ = run(capsys, "enroll", gallery, room / "people", *known)
    assert (status, out) == (0, f"enrolled 35 photos of 7 people: {gallery} holds 35 of 7\n")
    status, out, _ = run(capsys, "enroll", gallery, room / "people", *known)
    assert (status, out) == (0, "35 photos were enrolled already\n")
    words = ("enroll", gallery, room / "people/p3", "--subject", "Ada", *known)
    assert run(capsys, *words)[0] == 0

    asked = ("search", gallery, photo(room, 2, 4), photo(room, 5, 1), *known, "--count", "2")
    status, out, _ = run(capsys, *asked, "--threshold", "0.999")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "threshold 0.9990 (as given)"
    assert lines[1] == str(photo(room, 2, 4))
    assert lines[2].split() == ["p2", "1.0000", "accepted", str(photo(room, 2, 4))]
    assert "accepted" not in lines[3]
    assert lines[4] == str(photo(room, 5, 1))
    assert len(lines) == 7
    assert "nobody reaches the threshold" in run(capsys, *asked, "--threshold", "2")[1]

    before = contents(gallery)
    status, _, err = run(capsys, "remove", gallery, "ada")
    assert status == 2
    assert "holds nobody called 'ada'; did you mean 'Ada'?" in err
    assert contents(gallery) == before
    status, out, _ = run(capsys, "remove", gallery, "Ada")
    assert (status, out) == (0, f"removed 5 photos of Ada: {gallery} holds 35 of 7 people\n")
    assert not any(b"Ada" in data for data in contents(gallery).values())
    status, out, _ = run(capsys, "subjects", gallery)
    assert status == 0
    assert out.splitlines() == [*(f"    5  p{i}" for i in range(7)), "35 photos of 7 people"]


def test_bad_photos_are_left_out_on_request(room, here, capsys):
    gallery, known = here / "gallery", ("--workdir", room / "run", "--aligned", *ONE)
    for name in ("good", "bad"):
        (here / "new" / name).mkdir(parents=True)
    (here / "new/good/1.png").write_bytes(photo(room, 0, 1).read_bytes())
    (here / "new/bad/1.png").write_bytes(b"nothing")
    status, _, err = run(capsys, "enroll", gallery, "new", *known)
    assert status == 2
    assert "new/bad/1.png: not a whole image" in err
    assert "--skip-bad leaves such photos out" in err
    assert not gallery.exists()
    status, out, _ = run(capsys, "enroll", gallery, "new", *known, "--skip-bad")
    assert status == 0
    assert "left out: new/bad/1.png" in out
    assert "enrolled 1 photos of 1 people" in out
    status, out, _ = run(
        capsys, "search", gallery, "new", *known, "--skip-bad", "--threshold", "0.5"
    )
    assert status == 0
    assert "new/good/1.png\n  good   1.0000  accepted" in out


def test_a_gallery_of_another_model_is_refused_and_left_as_it_is(room, here, capsys):
    gallery, known = here / "gallery", ("--workdir", room / "run", "--aligned", *ONE)
    assert run(capsys, "enroll", gallery, room / "people", *known)[0] == 0
    before = contents(gallery)
    for other in (("--step", "2"), ("--ema",)):
        for words in (
            ("search", gallery, photo(room, 1, 1)),
            ("enroll", gallery, photo(room, 1, 1), "--subject", "new"),
        ):
            status, _, err = run(capsys, *words, *known, *other)
            assert status == 2
            assert "gallery.json was made by another model: digest" in err
    assert contents(gallery) == before


def test_gallery_is_encrypted_by_the_key_in_the_environment(room, here, capsys, monkeypatch):
    pytest.importorskip("cryptography")
    gallery, known = here / "gallery", ("--workdir", room / "run", "--aligned", *ONE)
    monkeypatch.setenv("JAXCV_GALLERY_KEY", new_key())
    words = ("enroll", gallery, photo(room, 1, 1), "--subject", "Grace Hopper", *known)
    assert run(capsys, *words)[0] == 0
    assert not any(b"Grace" in data for data in contents(gallery).values())
    assert "Grace Hopper" in run(capsys, "subjects", gallery)[1]
    before = contents(gallery)
    monkeypatch.setenv("JAXCV_GALLERY_KEY", new_key())
    status, _, err = run(capsys, "remove", gallery, "Grace Hopper")
    assert status == 2
    assert "encrypted with another key" in err
    monkeypatch.delenv("JAXCV_GALLERY_KEY")
    status, _, err = run(capsys, "search", gallery, photo(room, 1, 1), *known)
    assert status == 2
    assert "put its key into JAXCV_GALLERY_KEY" in err
    assert contents(gallery) == before


def write_pairs(room, here):
    """Twenty pairs as pairs.txt with two folds, and the same as a .bin of PNGs."""
    rng, lines, files, same = np.random.default_rng(1), ["2 5"], [], []
    for _ in range(2):
        for kind in (True, False):
            for _ in range(5):
                a, b = rng.choice(7, 2, replace=False)
                i, j = rng.choice(np.arange(1, 6), 2, replace=False)
                b = a if kind else b
                lines.append(f"p{a} {i} {j}" if kind else f"p{a} {i} p{b} {j}")
                files += [photo(room, a, i), photo(room, b, j)]
                same.append(kind)
    (here / "pairs.txt").write_text("\n".join(lines) + "\n")
    stored = ([file.read_bytes() for file in files], same)
    (here / "pairs.bin").write_bytes(pickle.dumps(stored, protocol=2))


def test_evaluate_on_pairs_from_a_list_and_from_a_bin_file(room, here, capsys):
    write_pairs(room, here)
    summaries = []
    for words in (("pairs.txt", "--root", room / "people"), ("pairs.bin",)):
        status, out, _ = run(
            capsys, "evaluate", room / "run", "--pairs", *words, "--json", "summary.json", *ONE
        )
        assert status == 0
        assert "20 pairs of " in out
        summaries.append(json.loads((here / "summary.json").read_text()))
    from_list, from_bin = summaries
    assert list(from_list) == ["without mirror images", "with mirror images"]
    for name, numbers in from_list.items():
        assert (numbers["genuine_pairs"], numbers["impostor_pairs"]) == (10, 10)
        assert numbers["true_accept_rate_at_far_0.1"] <= 1
        for field in ("equal_error_rate", "area_under_roc", "equal_error_threshold"):
            assert from_bin[name][field] == pytest.approx(numbers[field], abs=1e-6)
        # Two folds there, ten consecutive runs here.
        assert 0 <= numbers["fold_accuracy"] <= 1
        assert 0 <= from_bin[name]["fold_accuracy"] <= 1
    thresholds = [numbers["equal_error_threshold"] for numbers in from_list.values()]
    assert thresholds[0] != thresholds[1]
    status, out, _ = run(
        capsys, "evaluate", room / "run", "--pairs", "pairs.bin", "--flip", "True", *ONE
    )
    assert status == 0
    assert "without" not in out


def jpeg():
    stream = io.BytesIO()
    Image.new("L", (200, 200), 128).save(stream, "JPEG")
    return stream.getvalue()


BAD = {
    "one photo": ("verify RUN PHOTO", "compares two photos, but 1"),
    "both limits": (
        "verify RUN PHOTO PHOTO --threshold 0.1 --false-accept-rate 0.1",
        "exclude each other",
    ),
    "no fraction": ("verify RUN PHOTO PHOTO --false-accept-rate 3", "a fraction in [0, 1]"),
    "missing photo": ("verify RUN PHOTO gone.jpg --aligned", "gone.jpg: cannot be read"),
    "no run": ("verify gone PHOTO PHOTO", "gone/config.json does not exist"),
    "no face": ("verify RUN grey.jpg PHOTO", "grey.jpg: no face found"),
    "no workdir": ("enroll gallery PEOPLE", "--workdir"),
    "nobody": ("enroll gallery --workdir RUN", "at least one folder or photo"),
    "whose": ("enroll gallery PHOTO --workdir RUN", "--subject NAME"),
    "no name": ("enroll gallery PHOTO --workdir RUN --subject \n", "is no name"),
    "nothing to find": ("search gallery --workdir RUN", "at least one photo"),
    "empty gallery": ("search gallery PHOTO --workdir RUN", "gallery holds no gallery"),
    "no gallery": ("remove gallery p0", "enrol somebody first"),
    "no gallery to list": ("subjects gallery", "enrol somebody first"),
    "no root": ("evaluate RUN --pairs pairs.txt", "--root FOLDER"),
    "missing person": (
        "evaluate RUN --pairs pairs.txt --root PEOPLE",
        "pairs.txt, line 1: no such file",
    ),
    "hostile bin": ("evaluate RUN --pairs bad.bin", "bad.bin"),
    "predict": ("predict RUN PHOTO", "not written to a file. Compare two pictures by"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_with_status_2_and_writes_nothing(case, room, here, capsys):
    if case == "no face":
        pytest.importorskip("cv2")
    (here / "grey.jpg").write_bytes(jpeg())
    (here / "pairs.txt").write_text("p0 1 9\n")
    (here / "bad.bin").write_bytes(b"cos\nsystem\n(S'touch broken'\ntR.")
    line, message = BAD[case]
    places = {"RUN": room / "run", "PHOTO": photo(room, 0, 1), "PEOPLE": room / "people"}
    before, of_run = sorted(here.iterdir()), sorted((room / "run").iterdir())
    status, out, err = run(capsys, *(places.get(word, word) for word in line.split(" ")))
    assert status == 2
    assert message in " ".join((out + err).split())
    assert "Traceback" not in out + err
    assert sorted(here.iterdir()) == before
    assert sorted((room / "run").iterdir()) == of_run


def entries(gallery):
    """(subject, path, number of digests) of each entry of a plain gallery."""
    (path,) = gallery.glob("*.entries.json")
    table = json.loads(path.read_bytes())
    return sorted(zip(table["subjects"], table["sources"], map(len, table["digests"])))


def copied(room, folder, photos):
    """A folder of people with copies of photos: {"ada/1.png": (person, number)}."""
    for name, (person, number) in photos.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(photo(room, person, number).read_bytes())


def test_photos_are_known_by_what_is_in_them(room, here, capsys, monkeypatch):
    gallery, known = here / "gallery", ("--workdir", room / "run", "--aligned", *ONE)
    people = {"ada/1.png": (0, 1), "ada/2.png": (0, 2), "bob/1.png": (1, 1)}
    copied(room, here / "people", people)

    def enroll(folder):
        status, out, _ = run(capsys, "enroll", gallery, folder, *known)
        assert status == 0
        return out

    def best(person, number):
        words = ("search", gallery, photo(room, person, number), *known, "--threshold", "0.5")
        subject, score, *_ = run(capsys, *words)[1].splitlines()[2].split()
        return subject, float(score)

    assert enroll("people") == f"enrolled 3 photos of 2 people: {gallery} holds 3 of 2\n"
    assert {n for _, _, n in entries(gallery)} == {2}
    # By whatever path: absolute, through a link, from elsewhere, moved, renamed.
    (here / "link").symlink_to(here / "people")
    (here / "deep").mkdir()
    (here / "people").rename(here / "moved")
    (here / "moved/ada/2.png").rename(here / "moved/ada/two.PNG")
    (here / "link").unlink()
    (here / "link").symlink_to(here / "moved")
    monkeypatch.chdir(here / "deep")
    for folder in (here / "moved", "../moved", "../link", "../moved/../moved"):
        assert enroll(folder) == "3 photos were enrolled already\n"
    # Saved anew in another format, without loss: the same face.
    monkeypatch.chdir(here)
    (here / "bmp/ada").mkdir(parents=True)
    with Image.open(photo(room, 0, 1)) as image:
        image.save(here / "bmp/ada/x.bmp")
    assert enroll("bmp") == "1 photos were enrolled already\n"

    # Another folder whose photos have the same relative paths: other photos.
    (here / "b").mkdir()
    monkeypatch.chdir(here / "b")
    copied(room, here / "b/people", {"ada/1.png": (2, 1)})
    assert "enrolled 1 photos of 1 people" in enroll("people")
    assert best(2, 1) == ("ada", 1.0)
    # A photo that is replaced by another, and one by a copy of a third.
    copied(room, here / "b/people", {"ada/1.png": (3, 1)})
    out = enroll("people")
    assert "1 photos took the place of others of the same path" in out
    assert best(3, 1) == ("ada", 1.0)
    assert best(2, 1)[1] < 0.9999
    assert len(entries(gallery)) == 4
    copied(room, here / "b/people", {"ada/1.png": (0, 1)})
    out = enroll("people")
    assert out == (
        "1 photos were enrolled already\n1 photos that are at their paths no more were removed\n"
    )
    assert best(3, 1)[1] < 0.9999
    assert len(entries(gallery)) == 3


def test_photos_that_changed_places_are_all_known(room, here, capsys):
    gallery, known = here / "gallery", ("--workdir", room / "run", "--aligned", *ONE)
    words = ("enroll", gallery, "people", *known)
    copied(room, here / "people", {"ada/1.png": (0, 1), "ada/2.png": (0, 2)})
    assert run(capsys, *words)[0] == 0
    copied(room, here / "people", {"ada/1.png": (0, 2), "ada/2.png": (0, 1)})
    before = entries(gallery)
    assert run(capsys, *words)[1] == "2 photos were enrolled already\n"
    assert entries(gallery) == before
    # Twice in one folder is once.
    copied(room, here / "people", {"ada/1.png": (0, 3), "ada/9.png": (0, 3)})
    out = run(capsys, *words)[1]
    assert "2 photos were enrolled already" in out
    assert "enrolled 1 photos of 1 people" in out


def test_a_photo_of_two_people_is_said(room, here, capsys):
    gallery, known = here / "gallery", ("--workdir", room / "run", "--aligned", *ONE)
    copied(room, here / "one", {"ada/1.png": (0, 1)})
    copied(room, here / "two", {"bob/1.png": (0, 1), "bob/2.png": (1, 1)})
    assert run(capsys, "enroll", gallery, "one", *known)[0] == 0
    status, out, _ = run(capsys, "enroll", gallery, "two", *known)
    assert status == 0
    where = here / "two/bob/1.png"
    assert f"1 photos are enrolled under another name too: {where}, say, as of ada" in out
    assert "enrolled 2 photos of 1 people" in out
    # Said when it is enrolled, not for ever.
    assert run(capsys, "enroll", gallery, "two", *known)[1] == "2 photos were enrolled already\n"


def test_a_gallery_of_before_knows_its_photos_by_their_paths(room, here, capsys):
    gallery, known = here / "gallery", ("--workdir", room / "run", "--aligned", *ONE)
    copied(room, here / "people", {"ada/1.png": (0, 1), "bob/1.png": (1, 1)})
    assert run(capsys, "enroll", gallery, "people", *known)[0] == 0
    stored = StoredEntries(gallery)
    stored.rewrite(digests=None, sources=["people/ada/1.png", "people/bob/1.png"])
    out = run(capsys, "enroll", gallery, "people", *known)[1]
    assert out.startswith("2 photos were enrolled already\n2 of them are known by their path alone")
    assert run(capsys, "remove", gallery, "ada")[0] == 0
    out = run(capsys, "enroll", gallery, "people", *known)[1]
    assert "1 photos were enrolled already\n1 of them are known by their path alone" in out
    assert "enrolled 1 photos of 1 people" in out
    assert [n for _, _, n in entries(gallery)] == [2, 0]


class StoredEntries:
    """The table of a plain gallery's entries, to be written as an earlier version would have."""

    def __init__(self, gallery):
        self.header = gallery / "gallery.json"
        (self.path,) = gallery.glob("*.entries.json")

    def rewrite(self, **columns):
        table = {**json.loads(self.path.read_bytes()), **columns}
        data = json.dumps({k: v for k, v in table.items() if v is not None}).encode()
        self.path.write_bytes(data)
        header = json.loads(self.header.read_bytes())
        fields = {k: v for k, v in header.items() if k not in ("files", "digest")}
        files = {**header["files"], self.path.name: digest(data)}
        self.header.write_text(json.dumps(complete(fields, files)))
