"""Which photos are new, told by their digests."""

import numpy as np
import pytest

from jaxcv.faces.gallery.contract import Entry, GalleryError
from jaxcv.faces.gallery.device_gallery import DeviceGallery
from jaxcv.faces.gallery.enrolment import Photo, face_digest, file_digest, plan

ROWS = np.eye(4, dtype=np.float32)


def photo(subject, source, *digests):
    return Photo(subject=subject, source=f"/{source}", given=source, digests=digests)


def entry(number, subject, source, *digests):
    return Entry(id=number, subject=subject, source=source, digests=digests)


ENROLLED = [entry(0, "ada", "/1", "A", "a"), entry(1, "ada", "/2", "B", "b"), entry(2, "bob", "/3")]


@pytest.mark.parametrize(
    ("photos", "new", "replaced", "elsewhere"),
    [
        ([photo("ada", "1", "A", "a"), photo("ada", "2", "B")], [], (), []),
        ([photo("ada", "9", "A")], [], (), []),  # the file, moved
        ([photo("ada", "9", "X", "a")], [], (), []),  # the face, saved anew
        ([photo("ada", "1", "X", "x")], [0], (0,), []),  # another at the same path
        ([photo("ada", "1", "B", "b")], [], (0,), []),  # the other one at the same path
        ([photo("ada", "1", "B"), photo("ada", "2", "A")], [], (), []),  # changed places
        ([photo("ada", "1", "X"), photo("ada", "7", "A")], [0], (), []),  # moved, and a new one
        ([photo("eve", "1", "A", "a")], [0], (), [("/1", "ada")]),
        ([photo("eve", "5", "X"), photo("kim", "6", "X")], [0, 1], (), [("/6", "eve")]),
        ([photo("eve", "5", "X"), photo("eve", "6", "X")], [0], (), []),
        ([photo("bob", "3", "X", "x")], [], (), []),  # known by its path alone
    ],
)
def test_what_becomes_of_photos(photos, new, replaced, elsewhere):
    found = plan(photos, ENROLLED)
    assert (found.new, found.replaced, found.elsewhere) == (new, replaced, elsewhere)
    assert found.by_path == (photos[0].subject == "bob")


def test_digests_tell_contents_and_ways_to_read():
    assert len({file_digest(data, way) for data in (b"a", b"b") for way in ("x", "y")}) == 4
    face = np.arange(12, dtype=np.uint8)
    faces = [face.reshape(shape) for shape in ((2, 2, 3), (2, 6, 1), (12, 1, 1))]
    assert len({face_digest(face) for face in [*faces, faces[0] + 1]}) == 4
    assert face_digest(faces[0][::-1]) == face_digest(faces[0][::-1].copy())


def test_entries_keep_their_digests_and_give_way_in_one_go(tmp_path):
    def opened():
        return DeviceGallery(tmp_path, embedding_size=4, model_digest="m")

    gallery = opened()
    gallery.enroll_many(["ada", "ada", "bob"], ROWS[:3], digests=[("A", "a"), ("B",), ()])
    assert [e.digests for e in opened().entries()] == [("A", "a"), ("B",), ()]
    assert gallery.enroll_many(["ada"], ROWS[3:], digests=[("C",)], replacing=[0, 77]) == (3,)
    assert [(e.id, e.digests) for e in opened().entries()] == [(1, ("B",)), (2, ()), (3, ("C",))]
    assert opened().search(ROWS[3:])[0][0].entry == 3
    assert gallery.remove_entries([1, 1, 99]) == 1
    assert gallery.remove_entries([]) == 0
    assert [e.id for e in opened().entries()] == [2, 3]
    with pytest.raises(GalleryError, match="2 digests were given for 1 embeddings"):
        gallery.enroll_many(["ada"], ROWS[:1], digests=[(), ()])
    assert [e.id for e in opened().entries()] == [2, 3]


def test_qdrant_keeps_digests_and_replaces_too():
    pytest.importorskip("qdrant_client")
    from jaxcv.faces.gallery.qdrant_gallery import QdrantGallery

    gallery = QdrantGallery(embedding_size=4, model_digest="m")
    assert gallery.remove_entries([1]) == 0
    first, second = gallery.enroll_many(["ada", "bob"], ROWS[:2], digests=[("A",), ()])
    gallery.enroll_many(["ada"], ROWS[2:3], replacing=[first])
    assert len(gallery) == 2
    assert gallery.remove_entries([second, 5]) == 1
    assert gallery.subjects() == ("ada",)
