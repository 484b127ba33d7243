"""Whoever can write a gallery's directory and has no key: what they change is refused, and stays."""

import base64
import contextlib
import json
import shutil

import numpy as np
import pytest

from jaxcv.faces.gallery import storage
from jaxcv.faces.gallery.contract import GalleryError
from jaxcv.faces.gallery.device_gallery import DeviceGallery
from jaxcv.faces.gallery.encryption import VARIABLE, digest, parse_key
from jaxcv.faces.gallery.header import complete, context, file_name
from tests.faces.gallery.test_storage import Killed, cut_short, files, filled, found, opened

pytest.importorskip("cryptography")

KEY, OTHER = (base64.urlsafe_b64encode(bytes(range(i, i + 32))).decode() for i in (0, 1))
ROWS = np.random.default_rng(1).standard_normal((6, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def header_of(directory):
    return json.loads((directory / "gallery.json").read_bytes())


def put_header(directory, header):
    """A header with a digest that fits, as anybody can write it."""
    body = {name: value for name, value in header.items() if name != "digest"}
    text = json.dumps({**body, "digest": digest(json.dumps(body, sort_keys=True).encode())})
    (directory / "gallery.json").write_text(text)


def emptied(directory, *dropped, **changed):
    header = {**header_of(directory), "entries": 0, "files": {}, **changed}
    put_header(directory, {n: v for n, v in header.items() if n not in dropped})


V2_FIELDS = ("seal", "gallery", "replaces")
ATTACKS = {
    "emptied": emptied,
    "emptied, without a seal": lambda d: emptied(d, "seal"),
    "emptied, as version 1": lambda d: emptied(d, *V2_FIELDS, version=1),
    "emptied, as version 1 of long ago": lambda d: emptied(d, *V2_FIELDS, version=1, generation=0),
    "emptied, as version 1 of the future": lambda d: emptied(
        d, *V2_FIELDS, version=1, generation=3
    ),
    "emptied, of the next generation": lambda d: emptied(d, generation=3),
    "emptied, to be deleted": lambda d: emptied(d, generation=3, replaces=[2]),
    "emptied and plain": lambda d: emptied(d, "seal", key=None),
    "emptied and plain, of the next": lambda d: emptied(d, "seal", key=None, generation=3),
    "emptied and plain, as version 1": lambda d: emptied(
        d, *V2_FIELDS, version=1, key=None, generation=3
    ),
    "plain": lambda d: put_header(d, {**header_of(d), "key": None}),
    "as version 1": lambda d: put_header(
        d, {n: v for n, v in {**header_of(d), "version": 1}.items() if n not in V2_FIELDS}
    ),
    "ids given twice": lambda d: put_header(d, {**header_of(d), "next_id": 99}),
    "another gallery's id": lambda d: put_header(d, {**header_of(d), "gallery": "0" * 32}),
    "a seal of nothing": lambda d: put_header(d, {**header_of(d), "seal": ""}),
    "a seal that is no text": lambda d: put_header(d, {**header_of(d), "seal": None}),
}


@pytest.mark.parametrize("what", ATTACKS)
def test_a_rewritten_header_is_refused_and_nothing_is_deleted(tmp_path, what):
    gallery = filled(tmp_path / "g", key=KEY)
    shutil.copytree(tmp_path / "g", tmp_path / "copy")
    ATTACKS[what](tmp_path / "g")
    before = files(tmp_path / "g")
    for key in (KEY, OTHER, None):
        with pytest.raises(GalleryError, match=r"gallery[-.]"):
            opened(tmp_path / "g", key=key)
        assert files(tmp_path / "g") == before
    # The header put back, all is there.
    shutil.copy(tmp_path / "copy/gallery.json", tmp_path / "g/gallery.json")
    assert found(opened(tmp_path / "g", key=KEY)) == found(gallery)


@pytest.mark.parametrize("key", [KEY, None], ids=["encrypted", "plain"])
@pytest.mark.parametrize("changes", [1, 2, 4])
def test_an_older_header_put_back_is_refused(tmp_path, key, changes):
    """Authentic, and older than the files: also the empty one that the first change begins with."""
    headers, real = [], storage.os.replace

    def kept(source, target):
        real(source, target)
        if target.name == "gallery.json":
            headers.append(target.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage.os, "replace", kept)
        gallery = opened(tmp_path, key=key)
        for i in range(changes):
            gallery.enroll(f"person {i}", ROWS[i : i + 1])
    assert len(headers) == changes + 1
    for older in headers[:-1]:
        (tmp_path / "gallery.json").write_bytes(older)
        before = files(tmp_path)
        with pytest.raises(GalleryError, match=r"is missing|is no part of what gallery.json"):
            opened(tmp_path, key=key)
        assert files(tmp_path) == before
    (tmp_path / "gallery.json").write_bytes(headers[-1])
    assert len(opened(tmp_path, key=key)) == changes


def test_a_plain_header_that_forgets_its_files_is_refused(tmp_path):
    filled(tmp_path)
    for generation in (0, 2, 3, 50):
        emptied(tmp_path, generation=generation, replaces=[])
        before = files(tmp_path)
        with pytest.raises(GalleryError, match="is no part of what gallery.json describes"):
            opened(tmp_path)
        assert files(tmp_path) == before


@pytest.mark.parametrize("kind", ["embeddings.safetensors", "entries.json"])
def test_one_file_of_another_gallery_or_generation_is_refused(tmp_path, kind):
    """Of the same key, model and numbers: only gallery and generation differ."""
    for name in ("one", "two"):
        filled(tmp_path / name, key=KEY)
    path = tmp_path / "one" / file_name(2, kind)
    others = [(tmp_path / "two" / path.name).read_bytes()]
    again = opened(tmp_path / "two", key=KEY)
    again.change_key(KEY)
    others.append((tmp_path / "two" / file_name(3, kind)).read_bytes())
    for data in others:
        path.write_bytes(data)
        for header in (
            header_of(tmp_path / "one"),
            {**header_of(tmp_path / "one"), "files": {**header_of(tmp_path / "one")["files"]}},
        ):
            header["files"][path.name] = digest(data)
            put_header(tmp_path / "one", header)
            with pytest.raises(GalleryError, match="cannot be decrypted|digest differs"):
                opened(tmp_path / "one", key=KEY)
            # Nor would it decrypt, had they the seal.
            fields = {n: v for n, v in header.items() if n not in ("files", "seal", "digest")}
            with pytest.raises(ValueError, match="the key is another one, or the data was changed"):
                parse_key(KEY).decrypt(data, context(fields, path.name))


@pytest.mark.parametrize("key", [KEY, None], ids=["encrypted", "plain"])
def test_what_is_not_the_gallery_s_stays(tmp_path, key):
    filled(tmp_path, key=key)
    strange = {
        "gallery-00000000.entries.json": b"of an earlier time",
        "gallery-of-photos.json": b"mine",
        ".gallery.json.bak": b"mine",
        "notes": b"mine",
    }
    for name, data in strange.items():
        (tmp_path / name).write_bytes(data)
    gallery = opened(tmp_path, key=key)
    gallery.enroll("Bob", ROWS[:1])
    gallery.remove("Zoë")
    opened(tmp_path, key=key)
    assert strange.items() <= files(tmp_path).items()
    # A file of a later generation says that the header may be an old one.
    later = tmp_path / "gallery-00000099.entries.json"
    later.write_bytes(b"?")
    with pytest.raises(GalleryError, match=r"00000099.entries.json is no part .* generation 4"):
        opened(tmp_path, key=key)
    assert later.read_bytes() == b"?"


def test_a_note_that_anybody_could_have_written_deletes_nothing(tmp_path):
    filled(tmp_path, key=KEY)
    name = file_name(3, "entries.json")
    (tmp_path / name).write_bytes(b"?")
    note = {"after": header_of(tmp_path)["digest"], "files": [name]}
    text = json.dumps({**note, "digest": digest(json.dumps(note, sort_keys=True).encode())})
    for written in (text, json.dumps(note), "[]", "{", json.dumps({**note, "seal": "0" * 64})):
        (tmp_path / ".gallery.json.writing").write_text(written)
        before = files(tmp_path)
        with pytest.raises(GalleryError, match=f"{name} is no part"):
            opened(tmp_path, key=KEY)
        assert files(tmp_path) == before


@pytest.mark.parametrize("error", [Killed, OSError])
@pytest.mark.parametrize(
    ("old", "new"),
    [(None, KEY), (KEY, None), (KEY, OTHER), (KEY, KEY)],
    ids=["encrypted", "plain", "another", "the same"],
)
def test_a_change_of_key_cut_short_anywhere_is_made_or_not_made(
    tmp_path, monkeypatch, error, old, new
):
    gallery = filled(tmp_path / "start", key=old)
    wanted, outcomes = found(gallery), set()
    for number in range(1, 100):
        directory = tmp_path / str(number)
        shutil.copytree(tmp_path / "start", directory)
        gallery = opened(directory, key=old)
        with monkeypatch.context() as patch, contextlib.suppress(error):
            cut_short(patch, number, error)
            gallery.change_key(new)
            break
        name = header_of(directory)["key"]
        key = next(k for k in (old, new) if name == (None if k is None else parse_key(k).name))
        again = opened(directory, key=key)
        assert found(again) == wanted
        assert set(files(directory)) == {"gallery.json", *header_of(directory)["files"]}
        outcomes.add(header_of(directory)["generation"])
    assert number > 10
    assert outcomes == {2, 3}


def of_version_1(directory, key):
    """The same gallery as an earlier jaxcv wrote it."""
    gallery = filled(directory, key=key)
    header = header_of(directory)
    plain = {n: header[n] for n in header if n not in (*V2_FIELDS, "files", "digest")}
    fields = {**plain, "version": 1}
    digests = {}
    for name in header["files"]:
        data = (directory / name).read_bytes()
        if key is not None:
            data = parse_key(key).decrypt(data, context(header, name))
        if name.endswith(".json"):
            table = json.loads(data)
            del table["digests"]
            data = json.dumps(table).encode()
        if key is not None:
            data = parse_key(key).encrypt(data, context(fields, name))
        (directory / name).write_bytes(data)
        digests[name] = digest(data)
    put_header(directory, {**fields, "files": digests})
    return gallery


@pytest.mark.parametrize("key", [KEY, None], ids=["encrypted", "plain"])
def test_a_gallery_of_version_1_opens_and_is_sealed_by_its_next_change(tmp_path, key):
    gallery = of_version_1(tmp_path, key)
    before = files(tmp_path)
    again = opened(tmp_path, key=key)
    assert found(again) == found(gallery)
    assert files(tmp_path) == before
    again.remove("Zoë")
    header = header_of(tmp_path)
    assert header["version"] == 2
    assert len(header["gallery"]) == 32
    assert ("seal" in header) == (key is not None)
    assert opened(tmp_path, key=key).subjects() == ("Ada Lovelace",)
    assert set(files(tmp_path)) == {"gallery.json", *header["files"]}
    # From here on an older header is refused.
    put_header(tmp_path, json.loads(before["gallery.json"]))
    with pytest.raises(GalleryError):
        opened(tmp_path, key=key)


@pytest.mark.parametrize("key", [KEY, None], ids=["encrypted", "plain"])
def test_an_empty_gallery_of_version_1_opens_where_no_file_lies_beside_it(tmp_path, key):
    gallery = of_version_1(tmp_path, key)
    shutil.copytree(tmp_path, tmp_path / "copy")
    emptied(tmp_path / "copy", generation=9)
    with pytest.raises(GalleryError, match="is no part of what gallery.json describes"):
        opened(tmp_path / "copy", key=key)
    for name in header_of(tmp_path)["files"]:
        (tmp_path / "copy" / name).unlink()
    empty = opened(tmp_path / "copy", key=key)
    assert len(empty) == 0
    empty.enroll("Bob", ROWS[:1])
    assert opened(tmp_path / "copy", key=key).subjects() == ("Bob",)
    assert found(opened(tmp_path, key=key)) == found(gallery)


def test_the_seal_is_of_the_key_and_of_every_field(tmp_path):
    filled(tmp_path, key=KEY)
    header = header_of(tmp_path)
    fields = {n: v for n, v in header.items() if n not in ("files", "seal", "digest")}
    assert complete(fields, header["files"], parse_key(KEY)) == header
    seals = {header["seal"], complete(fields, header["files"], parse_key(OTHER))["seal"]}
    for name in fields:
        seals.add(complete({**fields, name: "?"}, header["files"], parse_key(KEY))["seal"])
    seals.add(complete(fields, {}, parse_key(KEY))["seal"])
    assert len(seals) == len(fields) + 3
    assert not any(KEY in text.decode(errors="replace") for text in files(tmp_path).values())


def test_a_gallery_in_memory_needs_no_seal():
    gallery = DeviceGallery(embedding_size=8, model_digest="m")
    gallery.enroll("Ada", ROWS[:1])
    assert gallery.subjects() == ("Ada",)
