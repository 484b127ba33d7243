"""One contract for all galleries: DeviceGallery, FaissGallery, QdrantGallery."""

import importlib
import unicodedata

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.faces.gallery.contract import GalleryError, check_subject, unit_rows

MODULES = {
    "DeviceGallery": ("device_gallery", "jax"),
    "FaissGallery": ("faiss_gallery", "faiss"),
    "QdrantGallery": ("qdrant_gallery", "qdrant_client"),
}
SIZE = 16


@pytest.fixture(params=sorted(MODULES))
def make(request):
    """Makes an empty gallery in memory."""
    module, needed = MODULES[request.param]
    pytest.importorskip(needed)
    made = getattr(importlib.import_module(f"jaxcv.faces.gallery.{module}"), request.param)
    return lambda size=SIZE: made(embedding_size=size, model_digest="model-1")


def random_rows(count, size=SIZE, seed=0):
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def answers(gallery, queries, k):
    return [[(m.subject, m.score, m.source) for m in row] for row in gallery.search(queries, k)]


def expected(subjects, sources, rows, queries, k):
    """Every cosine in float64, every subject's best, sorted: what the contract says."""
    units = [unit_rows(a, a.shape[1]).astype(np.float64) for a in (queries, rows)]
    result = []
    for query in units[0]:
        scores = (units[1] * query).sum(axis=1).astype(np.float32).clip(-1, 1)
        best = {}
        for i in sorted(range(len(rows)), key=lambda i: (-scores[i], i)):
            best.setdefault(subjects[i], (subjects[i], float(scores[i]), sources[i]))
        result.append(list(best.values())[:k])
    return result


def test_known_answer(make):
    gallery = make(2)
    gallery.enroll("Ada", np.array([[3.0, 4.0], [0.0, 2.0]]), ["a.jpg", None])
    (bob,) = gallery.enroll("Bob", jnp.array([[-5.0, 0.0]], jnp.bfloat16))
    (matches,) = gallery.search([[1.0, 0.0]], k=5)
    assert [(m.subject, m.source) for m in matches] == [("Ada", "a.jpg"), ("Bob", None)]
    np.testing.assert_allclose([m.score for m in matches], [0.6, -1.0], rtol=1e-6)
    assert matches[1].entry == bob
    assert len(gallery) == 3
    assert gallery.subjects() == ("Ada", "Bob")


@pytest.mark.parametrize("k", [1, 3, 100])
def test_random_data_with_many_ties(make, k):
    # 40 directions for 300 entries of 25 people, some with one entry and one with half of them:
    # most entries have equals, also under other names, and k subjects can lie far down.
    random = np.random.default_rng(1)
    rows = random_rows(40)[random.integers(0, 40, 300)]
    people = np.where(random.random(300) < 0.5, 0, random.integers(0, 25, 300))
    subjects = [f"person {number}" for number in people]
    sources = [f"{i}.jpg" for i in range(300)]
    queries = np.concatenate([random_rows(4, seed=2), rows[:3] * 7])
    gallery = make()
    ids = gallery.enroll_many(subjects, rows, sources)
    assert list(ids) == sorted(set(ids))
    assert answers(gallery, queries, k) == expected(subjects, sources, rows, queries, k)


def test_equal_scores_go_to_the_first_enrolled(make):
    gallery, row = make(), random_rows(1)
    for name in ("Zoe", "Ada", "Mia"):
        gallery.enroll(name, row)
    assert [m.subject for m in gallery.search(row, 3)[0]] == ["Zoe", "Ada", "Mia"]
    gallery.remove("Zoe")
    gallery.enroll("Zoe", row)
    assert [m.subject for m in gallery.search(row, 3)[0]] == ["Ada", "Mia", "Zoe"]


def test_remove_leaves_nothing_and_enrolling_again_works(make):
    gallery, rows = make(), random_rows(6)
    first = gallery.enroll("Ada", rows[:3])
    gallery.enroll("Bob", rows[3:])
    assert gallery.remove("Ada") == 3
    assert gallery.remove("Ada") == 0
    assert gallery.remove("nobody") == 0
    assert (len(gallery), gallery.subjects()) == (3, ("Bob",))
    assert {m.subject for row in gallery.search(rows, 2) for m in row} == {"Bob"}
    again = gallery.enroll("Ada", rows[:1])
    assert again[0] > max(first)
    assert gallery.search(rows[:1])[0][0].entry == again[0]
    assert gallery.remove("Ada") + gallery.remove("Bob") == 4
    assert (len(gallery), gallery.subjects()) == (0, ())
    with pytest.raises(GalleryError, match="empty"):
        gallery.search(rows)


def test_an_empty_gallery_says_so(make):
    gallery = make()
    assert (len(gallery), gallery.subjects(), gallery.remove("Ada")) == (0, (), 0)
    with pytest.raises(GalleryError, match="is empty: enrol somebody first"):
        gallery.search(random_rows(1))


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (np.ones((2, SIZE + 1)), r"size 16 and takes \[N, 16\], but the shape given is \[2, 17\]"),
        (np.ones(SIZE), r"the shape given is \[16\]"),
        (np.ones((0, SIZE)), "no embedding was given"),
        (np.ones((1, SIZE), np.int32), "floating, not int32"),
        (np.array([[1.0] * SIZE, [np.nan] * SIZE]), "embedding 1 is not finite"),
        (np.array([[1.0] * SIZE, [0.0] * SIZE]), "embedding 1 is all zero"),
    ],
)
def test_bad_embeddings_change_nothing(make, embeddings, message):
    gallery = make()
    gallery.enroll("Ada", random_rows(1))
    with pytest.raises(GalleryError, match=message):
        gallery.enroll("Bob", embeddings)
    with pytest.raises(GalleryError, match=message.replace("embedding", "(embedding|query)")):
        gallery.search(embeddings)
    assert (len(gallery), gallery.subjects()) == (1, ("Ada",))


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\udc80", 7])
def test_a_subject_is_a_name(name):
    with pytest.raises(GalleryError, match="subject"):
        check_subject(name)


def test_subjects_and_sources_match_the_rows(make):
    gallery, rows = make(), random_rows(2)
    for words in (["Ada"], ["Ada"] * 3, "Al"):
        with pytest.raises(GalleryError, match="subjects"):
            gallery.enroll_many(words, rows)
    for words in (["a.jpg"], "ab", ["a", "\udc80"]):
        with pytest.raises(GalleryError, match="source"):
            gallery.enroll("Ada", rows, words)
    with pytest.raises(GalleryError, match="k is 0"):
        gallery.search(rows, 0)
    assert len(gallery) == 0


def test_no_embedding_is_shown(make, caplog):
    rows = np.full((2, 2), 0.8660254, np.float32) * [[1.0, 0.577350269], [-1, 1]]
    gallery = make(2)
    caplog.set_level("DEBUG")
    gallery.enroll("Ada", rows)
    matches = gallery.search(rows)
    # JAX itself logs how many seconds it compiled for, which may be any number.
    logged = [r.getMessage() for r in caplog.records if not r.name.startswith("jax.")]
    shown = repr(gallery) + repr(matches) + repr(vars(gallery).get("_contents")) + str(logged)
    for number in ("0.866", "0.49", "0.5,", "0.707"):
        assert number not in shown


def test_embeddings_of_any_scale():
    rows = unit_rows(np.array([[1e300, 1e300], [1e-300, 0.0]]), 2)
    np.testing.assert_allclose(rows, [[0.5**0.5, 0.5**0.5], [1.0, 0.0]], rtol=1e-7)


def test_qdrant_refuses_a_collection_of_another_model():
    pytest.importorskip("qdrant_client")
    from jaxcv.faces.gallery.qdrant_gallery import QdrantGallery

    gallery = QdrantGallery(embedding_size=SIZE, model_digest="model-1")
    gallery.enroll("Ada", random_rows(1))
    for name, value, message in (
        ("embedding_size", 8, "size 16"),
        ("model_digest", "model-2", "1 entries made by another model than model-2"),
    ):
        same = getattr(gallery, name)
        setattr(gallery, name, value)
        with pytest.raises(GalleryError, match=message):
            gallery._check_collection()
        setattr(gallery, name, same)
    gallery._check_collection()


@pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")
@pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")
def test_qdrant_with_the_settings_for_a_server():
    pytest.importorskip("qdrant_client")
    from jaxcv.faces.gallery.qdrant_gallery import QdrantGallery

    gallery = QdrantGallery(embedding_size=SIZE, model_digest="m")
    gallery._url = "http://localhost:6333"  # but the client stays the one in memory
    rows = random_rows(600)  # three requests
    subjects = [str(i % 7) for i in range(600)]
    gallery.enroll_many(subjects, rows)
    wanted = expected(subjects, [None] * 600, rows, rows[:3], 4)
    assert answers(gallery, rows[:3], 4) == wanted
    assert gallery.remove("3") == sum(subject == "3" for subject in subjects)


def test_qdrant_takes_a_failed_enrolment_back(monkeypatch):
    pytest.importorskip("qdrant_client")
    from jaxcv.faces.gallery.qdrant_gallery import QdrantGallery

    gallery = QdrantGallery(embedding_size=SIZE, model_digest="m")
    gallery.enroll("Ada", random_rows(1))
    from httpx import Headers
    from qdrant_client.http.exceptions import UnexpectedResponse

    upsert, calls = gallery._client.upsert, []

    def fail_at_the_second(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise UnexpectedResponse(507, "Insufficient Storage", b"[0.125, 0.25]", Headers())
        return upsert(*arguments, **options)

    monkeypatch.setattr(gallery._client, "upsert", fail_at_the_second)
    with pytest.raises(GalleryError, match="status 507 Insufficient Storage$"):
        gallery.enroll("Bob", random_rows(600))
    assert (len(gallery), gallery.subjects()) == (1, ("Ada",))


def test_qdrant_names_a_server_that_does_not_answer():
    pytest.importorskip("qdrant_client")
    from jaxcv.faces.gallery.qdrant_gallery import QdrantGallery

    with pytest.raises(GalleryError, match=r"Qdrant at http://127.0.0.1:9 failed: ConnectError"):
        QdrantGallery(embedding_size=SIZE, model_digest="m", url="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("name", "extra"), [("FaissGallery", "faiss"), ("QdrantGallery", "qdrant")]
)
def test_a_missing_package_is_named(monkeypatch, name, extra):
    import sys

    module, needed = MODULES[name]
    made = getattr(importlib.import_module(f"jaxcv.faces.gallery.{module}"), name)
    monkeypatch.setitem(sys.modules, needed, None)

    def use():
        gallery = made(embedding_size=SIZE, model_digest="m")
        gallery.enroll("Ada", random_rows(1))
        gallery.search(random_rows(1))

    with pytest.raises(ImportError, match=rf"pip install .jaxcv\[{extra}\]"):
        use()


@pytest.mark.parametrize(
    "name", ["José", "Zoë Ångström", "한글", "Nguyễn Thị Minh", "O\u2019Neil ﬁn", "Ōe\u3000健三郎"]
)
def test_a_person_in_any_unicode_form_is_one_person(make, name):
    forms = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    forms += [
        f"{forms[1]} ",
        f"\u00a0{forms[0]}\ufeff",
        f"{forms[0]}\n",
        name.replace(" ", "\u00a0"),
    ]
    gallery, rows = make(), random_rows(len(forms) + 1)
    for form, row in zip(forms, rows):
        gallery.enroll(form, row[None])
    gallery.enroll("Jose", rows[-1:])  # who is somebody else
    wanted = unicodedata.normalize("NFC", name).replace("\u3000", " ")
    assert gallery.subjects() == tuple(sorted(("Jose", wanted)))
    assert {m.subject for m in gallery.search(rows[:1], 5)[0]} == {"Jose", wanted}
    assert gallery.remove(forms[3]) == len(forms)
    assert [gallery.remove(form) for form in forms] == [0] * len(forms)
    assert gallery.subjects() == ("Jose",)
    assert len(gallery) == 1
