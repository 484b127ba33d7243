"""InsightFace's record files: exact records, labels without images, damage named by file and byte."""

import concurrent.futures
import io
import struct

import numpy as np
import pytest
from PIL import Image

from jaxcv.data import (
    BalancedIdentities,
    Batches,
    DecodeError,
    DisjointIdentities,
    RecordIO,
    materialize,
)
from jaxcv.data.faces.record_file import RecordFile
from tests.data.record_files import MAGIC, framed, packed, record_set, write_records


def png(red, green, blue, side=4):
    file = io.BytesIO()
    Image.new("RGB", (side, side), (red, green, blue)).save(file, "PNG")
    return file.getvalue()


# Person p has p + 2 pictures; picture i of p is of the colour (p, i, 200).
PEOPLE = [[png(p, i, 200) for i in range(p + 2)] for p in range(3)]
LABELS = [0, 0, 1, 1, 1, 2, 2, 2, 2]


@pytest.fixture
def folder(tmp_path):
    write_records(tmp_path, record_set(PEOPLE), properties="3,4,4\n")
    return tmp_path


def test_records_labels_and_names(folder):
    source = RecordIO(root=str(folder)).open("train")
    assert len(source) == 9
    assert source.class_names == ("0", "1", "2")
    assert source.labels.tolist() == LABELS
    assert source.labels.dtype == np.int32
    for index, (person, number) in enumerate((p, i) for p in range(3) for i in range(p + 2)):
        record = source[index]
        assert record["label"] == person
        assert record["image"].dtype == np.uint8
        assert record["image"].shape == (4, 4, 3)
        assert record["image"][0, 0].tolist() == [person, number, 200]
    assert source.record_name(0) == f"{folder}/train.rec, key 1 at byte 40"
    with pytest.raises(ValueError, match="no split 'test'; it has 'train'"):
        RecordIO(root=str(folder)).open("test")
    small = RecordIO(root=str(folder), size=2, channels=1).open("train")
    assert small[0]["image"].shape == (2, 2, 1)


def test_bytes_of_a_known_file(tmp_path):
    # Written out by hand: magic, length 28, flag 0, label 7.0, two ids, four bytes of payload.
    text = "0a23d7ce 1c000000 00000000 0000e040 0500000000000000 0000000000000000 61626364"
    (tmp_path / "train.rec").write_bytes(bytes.fromhex(text))
    (tmp_path / "train.idx").write_text("3\t0\n")
    file = RecordFile(tmp_path / "train.rec", tmp_path / "train.idx")
    record = file.read(3)
    assert (record.labels.tolist(), record.several, record.payload) == ([7.0], False, b"abcd")
    assert file.first_labels(np.array([3])).tolist() == [7.0]
    assert 3 in file
    assert 0 not in file


def test_random_access_in_threads(folder):
    source = RecordIO(root=str(folder)).open("train")
    wanted = materialize(source, num_threads=1)
    order = np.random.default_rng(0).integers(0, 9, 200).tolist()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for index, record in zip(order, pool.map(source.__getitem__, order)):
            np.testing.assert_array_equal(record["image"], wanted["image"][index])
    assert wanted["label"].tolist() == LABELS


def test_the_magic_inside_of_an_image(tmp_path):
    for payload in (MAGIC, b"abcd" + MAGIC, MAGIC * 3 + b"x", b"ab" + MAGIC + b"cd", b"", b"abc"):
        records = {0: packed(1.0, payload), 1: packed([5.0, 6.0, 7.0], payload)}
        write_records(tmp_path, records)
        file = RecordFile(tmp_path / "train.rec", tmp_path / "train.idx")
        assert file.read(0).payload == payload
        assert file.read(1).payload == payload
        assert file.read(1).labels.tolist() == [5.0, 6.0, 7.0]
        assert file.first_labels(file.keys).tolist() == [1.0, 5.0]
    assert framed(packed(1.0, MAGIC)).count(MAGIC) == 2  # so parts were indeed read


def test_without_records_of_identities(tmp_path):
    # Neither record 0 nor `property`: every record is an image; two labels, the first counts.
    faces = [png(i, 0, 0) for i in range(4)]
    labels = [2.0, [0.0, 9.0], [1.0], 0.0]
    records = {10 * i: packed(label, face) for i, (label, face) in enumerate(zip(labels, faces))}
    write_records(tmp_path, records, stem="faces")
    source = RecordIO(root=str(tmp_path), stem="faces").open("train")
    # Record 0 has the one label 2.0, so it is an image too.
    assert source.labels.tolist() == [2, 0, 1, 0]
    assert source.class_names == ("0", "1", "2")
    assert materialize(source)["label"].tolist() == [2, 0, 1, 0]


def test_swapped_colours_are_turned_around(folder):
    source = RecordIO(root=str(folder), color_order="bgr").open("train")
    assert source[3]["image"][0, 0].tolist() == [200, 1, 1]
    with pytest.raises(ValueError, match="needs channels=3"):
        RecordIO(root=str(folder), color_order="bgr", channels=1).open("train")


def test_people_set_aside_and_balanced_batches(folder):
    source = RecordIO(root=str(folder)).open("train")
    batch = Batches(source, 6, shuffle=True, sampler=BalancedIdentities(images_per_identity=2))[0]
    assert sorted(batch["label"].tolist()) == [0, 0, 1, 1, 2, 2]
    data = DisjointIdentities(data=RecordIO(root=str(folder)), test_identities=1)
    train, test = data.open("train"), data.open("test")
    assert len(train) + len(test) == 9
    assert not set(train.class_names) & set(test.class_names)


# ---- Damage ------------------------------------------------------------------------------------


def test_cut_off_anywhere_is_found(folder):
    whole = (folder / "train.rec").read_bytes()
    for length in range(len(whole) - 1):
        (folder / "train.rec").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"train\.(rec|idx).*(cut off|file ends after)"):
            RecordIO(root=str(folder)).open("train")


def test_damaged_record_is_named_and_may_be_skipped(folder):
    whole = bytearray((folder / "train.rec").read_bytes())
    place = 40 + 2 * len(framed(packed(0.0, PEOPLE[0][0])))
    for change, reason in [
        ({0: 1}, "no record begins at byte"),
        ({7: 0x1F}, "claims .* bytes, but the file ends after"),
        ({7: 0x40}, "part flag 2 at byte .* is out of order"),
        ({8: 255, 9: 255}, "claims 65535 labels, which do not fit"),
        ({8 + 24: 0}, "not a whole image"),
    ]:
        damaged = bytearray(whole)
        for offset, value in change.items():
            damaged[place + offset] = value
        (folder / "train.rec").write_bytes(damaged)
        source = RecordIO(root=str(folder)).open("train")
        with pytest.raises(DecodeError, match=f"train.rec, key 3 at byte {place}: .*{reason}"):
            source[2]
        batch = Batches(source, 9, shuffle=False, on_bad_record="skip")[0]
        assert batch["mask"].tolist() == [True, True, False] + [True] * 6


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("1\tx\n", "not an index of key and byte in each line"),
        ("1\t0\t3\n", "3 columns"),
        ("1\t0\n2\n", "not an index"),
        ("1\t0\n1\t40\n", "key 1 is there twice"),
        ("1\t99999999\n", "key 1 is at byte 99999999, but .* has"),
        ("1\t-4\n", "key 1 is at byte -4"),
        ("1\t99999999999999999999999\n", "not an index"),
        ("1\t2\n", "no record begins at byte 2"),
        ("0\t0\n", "record 0 tells of 9 images, the index lists 0"),
    ],
)
def test_bad_index(folder, index, message):
    (folder / "train.idx").write_text(index)
    with pytest.raises(ValueError, match=message) as caught:
        RecordIO(root=str(folder)).open("train")
    assert "\n" not in str(caught.value)


def test_hostile_headers(tmp_path):
    def opened(records, properties="3,4,4"):
        write_records(tmp_path, records, properties=properties)
        return RecordIO(root=str(tmp_path)).open("train")

    good = record_set(PEOPLE)
    for labels in ([0.0, 3.0], [9.0, 3.0], [float("nan"), 3.0], [1e30, 1e31], [10.0, float("inf")]):
        with pytest.raises(ValueError, match="wanted the first key of the identities"):
            opened({**good, 0: packed(labels)})
    with pytest.raises(ValueError, match="tells of 1999 images"):
        opened({**good, 0: packed([2000.0, 2003.0])})
    for key, labels in ((11, [3.0, 7.0]), (11, [3.0, 5.0]), (10, [2.0, 3.0]), (12, [6.0, 1e9])):
        with pytest.raises(ValueError, match="do not cover the images"):
            _ = opened({**good, key: packed(labels)}).labels
    with pytest.raises(ValueError, match="wanted the first and the last key"):
        _ = opened({**good, 11: packed(1.0)}).labels
    with pytest.raises(ValueError, match=r"key 1 at byte \d+: label 0\.5 is no identity"):
        _ = opened({**good, 1: packed(0.5, PEOPLE[0][0])}).labels
    odd = opened({**good, 4: packed(2.0, PEOPLE[1][1])})
    _ = odd.labels
    with pytest.raises(ValueError, match="own label is 2, but the identity .* counted to is 1"):
        odd[3]
    with pytest.raises(ValueError, match=r"property: wanted identities,height,width"):
        opened(good, properties="many")
    beyond = opened(good, properties="2,4,4")
    with pytest.raises(ValueError, match=r"key 6 .*label 2 is outside \[0, 2\)"):
        Batches(beyond, 9, shuffle=False)[0]


def test_keys_beyond_the_precision_of_the_header(tmp_path):
    # 2^24 + 1 is no float32: record 0 says 2^24 where the records of identities begin at 2^24 + 1.
    first = 2**24 + 1
    assert struct.unpack("<f", struct.pack("<f", first))[0] == first - 1
    faces = {first - 2: packed(0.0, png(1, 0, 0)), first - 1: packed(1.0, png(2, 0, 0))}
    identities = {first: packed([1.0, 2.0]), first + 1: packed([2.0, 3.0])}
    records = {0: packed([float(first), float(first + 2)]), **faces, **identities}
    write_records(tmp_path, records, properties="2,4,4")
    source = RecordIO(root=str(tmp_path)).open("train")
    assert source.keys.tolist() == [first - 2, first - 1]
    assert source.labels.tolist() == [0, 1]


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        RecordIO(root=str(tmp_path / "nowhere")).open("train")
    with pytest.raises(ValueError, match=r"train\.rec: no such file"):
        RecordIO(root=str(tmp_path)).open("train")
    (tmp_path / "train.rec").write_bytes(b"")
    with pytest.raises(ValueError, match=r"train\.idx: no such file"):
        RecordIO(root=str(tmp_path)).open("train")


@pytest.mark.parametrize(
    ("count", "message"),
    [
        ("999999999", "999999999 identities for 9 images; .* up to 1000000 .MAX_EMPTY_CLASSES"),
        ("1000001", "1000001 identities for 9 images"),
        ("9999999999", "wanted identities,height,width"),
        ("9" * 5000, "wanted identities,height,width"),
        ("\u0663", "wanted identities,height,width"),
        ("0", "wanted identities,height,width"),
        ("-3", "wanted identities,height,width"),
    ],
)
def test_a_property_that_tells_of_too_many(folder, count, message):
    (folder / "property").write_text(f"{count},112,112\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"property: {message}"):
        RecordIO(root=str(folder)).open("train")


def test_a_property_of_more_identities_than_images_is_taken(folder):
    """As where a part of a set is kept with the property of the whole."""
    (folder / "property").write_text("1000000,112,112")
    assert len(RecordIO(root=str(folder)).open("train").class_names) == 1_000_000
    (folder / "property").unlink()
    (folder / "property").mkdir()
    with pytest.raises(ValueError, match="property: cannot be read: it is a folder"):
        RecordIO(root=str(folder)).open("train")


def test_a_label_that_would_make_too_many_names(tmp_path):
    write_records(tmp_path, {0: packed(2_000_000.0, png(1, 2, 3)), 1: packed(1.0, png(1, 2, 3))})
    with pytest.raises(
        ValueError, match=r"the labels of .*train\.rec: 2000001 identities for 2 images"
    ):
        RecordIO(root=str(tmp_path)).open("train")
