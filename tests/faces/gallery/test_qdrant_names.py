"""Points of an earlier version in Qdrant, which kept names as they were written."""

import numpy as np
import pytest


def test_all_forms_of_a_person_are_found_and_forgotten(monkeypatch):
    pytest.importorskip("qdrant_client")
    from jaxcv.faces.gallery.qdrant_gallery import QdrantGallery

    gallery = QdrantGallery(embedding_size=4, model_digest="m")
    with monkeypatch.context() as earlier:
        earlier.setattr("jaxcv.faces.gallery.contract.check_subject", lambda subject: subject)
        for form, row in zip(("José", "Jose\u0301", "José\u00a0", "Jose"), np.eye(4)):
            gallery.enroll(form, row[None])
    assert gallery.subjects() == ("Jose", "José")
    assert [match.subject for match in gallery.search(np.eye(4)[1:2] + 0.1, 4)[0]] == [
        "José",
        "Jose",
    ]
    assert gallery.remove("José ") == 3
    assert gallery.remove("Jose\u0301") == 0
    assert gallery.subjects() == ("Jose",)
    assert len(gallery) == 1
