import contextlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from jaxcv.faces.gallery import storage
from jaxcv.faces.gallery.contract import GalleryError
from jaxcv.faces.gallery.device_gallery import DeviceGallery
from jaxcv.faces.gallery.encryption import VARIABLE, digest, new_key
from jaxcv.faces.gallery.header import complete

SIZE = 8
ROWS = np.random.default_rng(0).standard_normal((6, SIZE)).astype(np.float32)


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def opened(directory, **changed):
    return DeviceGallery(
        directory, **{"embedding_size": SIZE, "model_digest": "model-1", **changed}
    )


def filled(directory, **changed):
    gallery = opened(directory, **changed)
    gallery.enroll("Ada Lovelace", ROWS[:2], ["ada-1.jpg", "ada-2.jpg"])
    gallery.enroll("Zoë", ROWS[2:4])
    return gallery


def files(directory):
    return {p.name: p.read_bytes() for p in sorted(directory.iterdir())}


def found(gallery):
    return [(e.id, e.subject, e.source) for e in gallery.entries()], gallery.search(ROWS, 2)


def test_what_was_enrolled_is_there_again(tmp_path):
    gallery = filled(tmp_path / "new" / "gallery")
    again = opened(tmp_path / "new" / "gallery")
    assert found(again) == found(gallery)
    assert len(files(tmp_path / "new" / "gallery")) == 3
    assert again.remove("Ada Lovelace") == 2
    assert again.enroll("Bob", ROWS[4:]) == (4, 5)  # the ids of Ada's entries are not given again
    assert opened(tmp_path / "new" / "gallery").subjects() == ("Bob", "Zoë")


def test_only_the_owner_can_read_the_files(tmp_path):
    filled(tmp_path / "gallery")
    assert (tmp_path / "gallery").stat().st_mode & 0o077 == 0
    assert all(p.stat().st_mode & 0o077 == 0 for p in (tmp_path / "gallery").iterdir())


def test_reading_makes_nothing(tmp_path):
    gallery = opened(tmp_path / "gallery")
    with pytest.raises(GalleryError, match=r"gallery', 0 entries of size 8\) is empty"):
        gallery.search(ROWS)
    assert gallery.remove("Ada") == 0
    with pytest.raises(GalleryError, match="not finite"):
        gallery.enroll("Ada", ROWS * np.nan)
    assert not (tmp_path / "gallery").exists()


def test_faiss_reads_the_same_directory(tmp_path):
    pytest.importorskip("faiss")
    from jaxcv.faces.gallery.faiss_gallery import FaissGallery

    gallery = filled(tmp_path)
    other = FaissGallery(tmp_path, embedding_size=SIZE, model_digest="model-1")
    assert found(other) == found(gallery)
    other.remove("Zoë")
    assert opened(tmp_path).subjects() == ("Ada Lovelace",)


def traces(directory, subject, sources, rows):
    """Names of the files that hold a subject's name, a source, or a piece of an embedding."""
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    words = [subject.encode(), json.dumps(subject).strip('"').encode(), *map(str.encode, sources)]
    # Any two neighbouring numbers, of the vectors given and of the unit vectors kept.
    for row in np.concatenate([rows, units]).astype(np.float32):
        words += [row[i : i + 2].tobytes() for i in range(SIZE - 1)]
    return {name for name, data in files(directory).items() for word in words if word in data}


def test_removal_leaves_no_trace_in_any_file(tmp_path):
    gallery = filled(tmp_path)
    ada = ("Ada Lovelace", ["ada-1.jpg", "ada-2.jpg"], ROWS[:2])
    zoe = ("Zoë", [], ROWS[2:4])
    assert len(traces(tmp_path, *ada)) == len(traces(tmp_path, *zoe)) == 2
    assert gallery.remove("Ada Lovelace") == 2
    assert traces(tmp_path, *ada) == set()
    assert len(traces(tmp_path, *zoe)) == 2
    gallery.remove("Zoë")
    assert traces(tmp_path, *zoe) == set()
    assert list(files(tmp_path)) == ["gallery.json"]
    assert len(opened(tmp_path)) == 0


class Killed(BaseException):
    """Stands for a process that ends here: no clean-up of ours may run on it."""


def cut_short(patch, number, error):
    """Lets the `number`-th call that touches the disk raise `error` instead."""
    calls = []

    def broken(name, real):
        def call(*arguments, **options):
            calls.append(name)
            if len(calls) == number:
                raise error(5, f"cut short at {name}")
            return real(*arguments, **options)

        return call

    for name in ("fsync", "replace", "unlink", "open"):
        patch.setattr(storage.os, name, broken(name, getattr(os, name)))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("error", [Killed, OSError])
def test_a_change_cut_short_anywhere_is_made_or_not_made(tmp_path, monkeypatch, error, first):
    start, outcomes = tmp_path / "start", set()
    before, after = ((), ("Bob",)) if first else (("Ada Lovelace", "Zoë"), ("Zoë",))
    if not first:
        filled(start)
    for number in range(1, 100):
        directory = tmp_path / str(number)
        if not first:
            shutil.copytree(start, directory)
        gallery = opened(directory)
        with monkeypatch.context() as patch, contextlib.suppress(error):
            cut_short(patch, number, error)
            _ = gallery.enroll("Bob", ROWS[4:]) if first else gallery.remove("Ada Lovelace")
            break  # it needs fewer calls than that
        again = opened(directory)
        outcomes.add(again.subjects())
        # Whatever was left over is deleted by now.
        names = set(files(directory))
        kept = json.loads(files(directory)["gallery.json"])["files"] if names else {}
        assert names - {"gallery.json"} == set(kept)
        if again.subjects() == ("Zoë",):
            assert traces(directory, "Ada Lovelace", ["ada-1.jpg"], ROWS[:2]) == set()
        again.enroll("Mia", ROWS[:1])
    assert number > 10
    assert outcomes == {before, after}


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    gallery = filled(tmp_path)
    before = files(tmp_path)

    def fsync(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        gallery.enroll("Bob", ROWS[4:])
    assert files(tmp_path) == before
    assert gallery.subjects() == ("Ada Lovelace", "Zoë")


def change_header(directory, **changed):
    path = directory / "gallery.json"
    header = {**json.loads(path.read_bytes()), **changed}
    digests = header.pop("files")
    header.pop("digest")
    path.write_text(json.dumps(complete(header, digests)))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replace_file(directory, ending, data):
    """Replaces a file and its digest: what only someone who wants harm does."""
    (path,) = directory.glob(f"gallery-*{ending}")
    path.write_bytes(data)
    digests = json.loads((directory / "gallery.json").read_bytes())["files"]
    change_header(directory, files={**digests, path.name: digest(data)})


DAMAGE = {
    "another size": (lambda d: None, r"gallery.json was made by another model: size 8.* size 9"),
    "another model": (lambda d: None, r"another model: digest model-1, .* digest model-2"),
    "flipped embedding": (
        lambda d: flip(next(d.glob("*.safetensors"))),
        r"embeddings.safetensors is damaged: its digest differs from that in gallery.json",
    ),
    "flipped name": (
        lambda d: flip(next(d.glob("*.entries.json"))),
        r"entries.json is damaged: its digest",
    ),
    "missing file": (
        lambda d: next(d.glob("*.safetensors")).unlink(),
        r"embeddings.safetensors is missing",
    ),
    "missing header": (
        lambda d: (d / "gallery.json").unlink(),
        r"gallery.json is missing, but gallery-00000002.embeddings.safetensors is there",
    ),
    "changed header": (
        lambda d: (d / "gallery.json").write_bytes(
            (d / "gallery.json").read_bytes().replace(b"model-1", b"model-3")
        ),
        r"gallery.json is damaged: its digest differs",
    ),
    "no JSON": (
        lambda d: (d / "gallery.json").write_text("{"),
        r"gallery.json is damaged: it is no",
    ),
    "no gallery": (lambda d: (d / "gallery.json").write_text("[]"), r"json is not of a gallery"),
    "newer version": (
        lambda d: change_header(d, version=3),
        r"gallery.json has version 3, but this jaxcv reads versions 1 to 2",
    ),
    "negative count": (lambda d: change_header(d, entries=-1), r"fields do not fit together"),
    "file elsewhere": (
        lambda d: change_header(d, files={"../secret.safetensors": ""}),
        r"fields do not fit together",
    ),
    "too few rows": (
        lambda d: change_header(d, entries=3),
        r"holds float32\[4, 8\], but .*\[3, 8\]",
    ),
    "hostile tensors": (
        lambda d: replace_file(d, "safetensors", b"\xff" * 100),
        r"safetensors is damaged: it holds no embeddings",
    ),
    "no table": (lambda d: replace_file(d, "entries.json", b"{}"), r"it is no table of entries"),
    "strange ids": (
        lambda d: replace_file(
            d,
            "entries.json",
            json.dumps(
                {"ids": [0, 0, 1, 2], "subjects": ["a"] * 4, "sources": [None] * 4}
            ).encode(),
        ),
        r"the ids of its entries do not rise",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_gallery_that_does_not_fit_is_refused_and_left_alone(tmp_path, what):
    filled(tmp_path)
    damage, message = DAMAGE[what]
    damage(tmp_path)
    before = files(tmp_path)
    changed = {"another size": {"embedding_size": 9}, "another model": {"model_digest": "model-2"}}
    with pytest.raises(GalleryError, match=message):
        opened(tmp_path, **changed.get(what, {}))
    assert files(tmp_path) == before


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "gallery-of-photos.json").write_text("mine")
    (tmp_path / "gallery-1.entries.json").write_text("mine")
    gallery = filled(tmp_path)
    gallery.remove("Zoë")
    opened(tmp_path)
    assert (tmp_path / "gallery-of-photos.json").read_text() == "mine"
    assert (tmp_path / "gallery-1.entries.json").read_text() == "mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(GalleryError, match="is no directory"):
        opened(tmp_path / "file")


def test_two_processes_do_not_overwrite_each_other(tmp_path):
    one, two = filled(tmp_path), opened(tmp_path)
    one.enroll("Bob", ROWS[4:])
    before = files(tmp_path)
    for change in (lambda: two.enroll("Mia", ROWS[:1]), lambda: two.remove("Zoë")):
        with pytest.raises(
            GalleryError, match="changed by another process.*open the gallery again"
        ):
            change()
    assert files(tmp_path) == before
    assert two.subjects() == ("Ada Lovelace", "Zoë")


@pytest.mark.slow
def test_a_killed_process_leaves_a_whole_gallery(tmp_path):
    """The real thing: SIGKILL at arbitrary moments of a process that enrols without end."""
    filled(tmp_path)
    program = (
        "import sys, numpy as np\n"
        "from jaxcv.faces.gallery.device_gallery import DeviceGallery\n"
        f"gallery = DeviceGallery(sys.argv[1], embedding_size={SIZE}, model_digest='model-1')\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        f"    gallery.enroll('Bob', np.random.standard_normal((2000, {SIZE})))\n"
        "    gallery.remove('Bob')\n"
    )
    for wait in (0.0, 0.03, 0.1):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
        )
        with process:
            assert process.stdout.readline() == b"ready\n"
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                process.kill()
        again = opened(tmp_path)
        assert set(again.subjects()) - {"Bob"} == {"Ada Lovelace", "Zoë"}
        assert len(again) in (4, 2004)
        again.remove("Bob")


def test_encryption_hides_names_and_vectors(tmp_path):
    pytest.importorskip("cryptography")
    key = new_key()
    gallery = filled(tmp_path, key=key)
    assert traces(tmp_path, "Ada Lovelace", ["ada-1.jpg"], ROWS[:2]) == set()
    assert traces(tmp_path, "Zoë", [], ROWS[2:4]) == set()
    assert not any(key.encode() in data for data in files(tmp_path).values())
    assert found(opened(tmp_path, key=key)) == found(gallery)
    assert opened(tmp_path, key=key).remove("Zoë") == 2


def test_the_key_comes_from_the_environment(tmp_path, monkeypatch):
    pytest.importorskip("cryptography")
    monkeypatch.setenv(VARIABLE, new_key())
    gallery = filled(tmp_path)
    assert traces(tmp_path, "Ada Lovelace", ["ada-1.jpg"], ROWS[:2]) == set()
    assert found(opened(tmp_path)) == found(gallery)
    before = files(tmp_path)
    for value, message in (
        (new_key(), "gallery.json is of a gallery encrypted with another key"),
        ("", f"gallery.json is of an encrypted gallery; put its key into {VARIABLE}"),
        ("a passphrase", "is no key: it has to be 32 bytes in URL-safe base64"),
    ):
        monkeypatch.setenv(VARIABLE, value)
        with pytest.raises(ValueError, match=message) as error:
            opened(tmp_path)
        assert not value or value not in str(error.value)
        assert files(tmp_path) == before


def test_a_plain_gallery_is_not_taken_for_an_encrypted_one(tmp_path):
    pytest.importorskip("cryptography")
    gallery = filled(tmp_path)
    key = new_key()
    with pytest.raises(GalleryError, match="gallery.json is of a gallery that is not encrypted"):
        opened(tmp_path, key=key)
    gallery.change_key(key)
    assert traces(tmp_path, "Ada Lovelace", ["ada-1.jpg"], ROWS[:2]) == set()
    gallery.enroll("Bob", ROWS[4:])
    assert found(opened(tmp_path, key=key)) == found(gallery)
    gallery.change_key(None)
    assert found(opened(tmp_path)) == found(gallery)
    with pytest.raises(GalleryError, match="in memory alone"):
        opened(None).change_key(key)


@pytest.mark.parametrize("ending", ["embeddings.safetensors", "entries.json"])
def test_tampering_with_an_encrypted_gallery_is_noticed(tmp_path, ending):
    pytest.importorskip("cryptography")
    key = new_key()
    filled(tmp_path / "one", key=key)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (path,) = (tmp_path / "one").glob(f"*{ending}")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    replace_file(tmp_path / "one", ending, bytes(data))
    # The fields of the header are bound to the files as well: ids that would be given twice.
    change_header(tmp_path / "two", next_id=9)
    for name in ("one", "two"):
        before = files(tmp_path / name)
        with pytest.raises(
            GalleryError, match="cannot be decrypted: the key is another one, or the"
        ):
            opened(tmp_path / name, key=key)
        assert files(tmp_path / name) == before


def test_a_gallery_of_an_earlier_version_holds_each_person_once(tmp_path, monkeypatch):
    """It kept names as they were written; all of a person's entries are forgotten, from disk too."""
    forms = ["José", "Jose\u0301", "José ", "\u00a0José", "Jose"]
    directory = tmp_path / "old"
    with monkeypatch.context() as earlier:
        for module in ("contract", "contents"):
            earlier.setattr(f"jaxcv.faces.gallery.{module}.check_subject", lambda subject: subject)
        gallery = DeviceGallery(directory, embedding_size=4, model_digest="m")
        gallery.enroll_many(forms, np.eye(5, 4) + 1)
    assert sum(
        form.encode() in b"".join(p.read_bytes() for p in directory.iterdir()) for form in forms
    )
    gallery = DeviceGallery(directory, embedding_size=4, model_digest="m")
    assert gallery.subjects() == ("Jose", "José")
    assert len(gallery.search([[2.0, 1, 1, 1]], 5)[0]) == 2
    assert gallery.remove("Jose\u0301\u00a0") == 4
    again = DeviceGallery(directory, embedding_size=4, model_digest="m")
    assert (again.subjects(), len(again)) == (("Jose",), 1)
    left = b"".join(p.read_bytes() for p in directory.iterdir())
    assert "José".encode() not in left
    assert "Jose\u0301".encode() not in left
