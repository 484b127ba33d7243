"""Embeddings of a run against the model applied by hand; digests; thresholds; photos."""

import dataclasses
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxcv.data import ImageReader
from jaxcv.data.faces import VerificationPairs
from jaxcv.data.faces.verification import StoredImages
from jaxcv.faces.detector import Face, landmarks_from_eyes
from jaxcv.faces.pair_figure import pair_figure
from jaxcv.faces.photos import FaceReader, find_people, read_faces
from jaxcv.image import Normalize
from jaxcv.metrics import pair_scores
from jaxcv.tasks import Classification
from jaxcv.tasks.faces.embedding import (
    check_embedder,
    embed_pictures,
    embed_source,
    embedder_digest,
    embedding_size,
    picture_shape,
    record_reader,
)
from jaxcv.tasks.faces.verification import evaluated_threshold, stored_threshold, verify_pairs
from jaxcv.train import Runtime, open_run
from tests.synthetic_people import experiment, write_people


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("embedding") / "people")


@pytest.fixture(scope="module")
def opened(people):
    """(run, variables) at step 0, on two devices."""
    run = open_run(experiment(people), Runtime(devices=2))
    return run, run.create_state().variables


def pictures(source):
    return np.stack([source[i]["image"] for i in range(len(source))])


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_embeddings_are_those_of_the_backbone_with_and_without_mirror_images(opened):
    run, variables = opened
    found = embed_source(run, variables, run.test_source)
    assert found.shape == (15, 12)
    assert (embedding_size(run), picture_shape(run)) == (12, (10, 8, 1))
    assert record_reader(run) == run.image_reader.with_size((10, 8))
    images = (pictures(run.test_source) / np.float32(255) - 0.5) / 0.25
    backbone = run.experiment.model.backbone
    params = {"params": jax.device_get(variables)["params"]["backbone"]}
    plain = np.asarray(backbone.apply(params, images))
    mirrored = np.asarray(backbone.apply(params, images[:, :, ::-1]))
    np.testing.assert_allclose(found, unit(plain), atol=2e-5)
    # Fifteen pictures are two batches of eight; three are one of four.
    three = embed_pictures(run, variables, pictures(run.test_source)[:3])
    np.testing.assert_allclose(three, unit(plain)[:3], atol=2e-5)
    flipped = embed_source(run, variables, run.test_source, flip_test=True)
    np.testing.assert_allclose(flipped, unit(plain + mirrored), atol=2e-5)


def test_pictures_of_another_shape_are_refused_by_name(opened):
    run, variables = opened
    source = StoredImages([np.zeros((9, 8), np.uint8)], ["stranger.png"], ImageReader(channels=1))
    with pytest.raises(ValueError, match=r"stranger.png is \[9, 8, 1\].*pictures of \[10, 8, 1\]"):
        embed_source(run, variables, source)


def test_digest_tells_embedders_apart_and_leaves_the_classifier_out(opened, people):
    run, variables = opened
    digest = embedder_digest(run, variables)
    assert digest == embedder_digest(run, jax.device_get(variables))
    params = variables["params"]
    other_people = {"params": {**params, "classifier": jnp.zeros((128, 12))}}
    assert embedder_digest(run, other_people) == digest
    backbone = params["backbone"]
    bias = backbone["classifier"]["bias"].at[3].add(1e-6)
    nudged = {**backbone, "classifier": {**backbone["classifier"], "bias": bias}}
    digests = {digest, embedder_digest(run, {"params": {**params, "backbone": nudged}})}
    darker = experiment(people, preprocess=(Normalize(mean=(0.4,), std=(0.25,)),))
    digests.add(embedder_digest(dataclasses.replace(run, experiment=darker), variables))
    mirror = experiment(people, model=run.experiment.model.clone(flip_test=True))
    digests.add(embedder_digest(dataclasses.replace(run, experiment=mirror), variables))
    assert len(digests) == 4


def test_a_run_that_embeds_nobody_is_refused():
    run = types.SimpleNamespace(
        experiment=types.SimpleNamespace(task=Classification(num_classes=2))
    )
    with pytest.raises(ValueError, match="runs/x trains Classification, no embeddings of faces"):
        check_embedder(run, "runs/x")


def test_threshold_is_that_of_the_test_pairs_and_says_where_it_is_from(opened, tmp_path):
    run, variables = opened
    embeddings = embed_source(run, variables, run.test_source)
    pairs = pair_scores(embeddings, run.test_source.labels)
    genuine, impostors = pairs.scores[pairs.same], pairs.scores[~pairs.same]
    found = evaluated_threshold(run, variables, 0.2)
    # The lowest genuine score that lets in no more than a fifth of the impostors.
    allowed = [score for score in genuine if np.mean(impostors >= score) <= 0.2]
    assert found.value == pytest.approx(min(allowed), abs=1e-5)
    assert found.accepts(found.value)
    assert not found.accepts(found.value - 1e-3)
    assert f"0.2 on {len(impostors)} impostor pairs of the test set, evaluated now" in found.origin

    rows = [
        {"step": 2, "split": "test", "threshold_at_far_0.01": 0.5, "impostor_pairs": 4500},
        {"step": 2, "split": "test_ema", "threshold_at_far_0.01": 0.6, "impostor_pairs": 4500},
        {"step": 4, "split": "test", "threshold_at_far_0.01": np.inf, "impostor_pairs": 4500},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert stored_threshold(tmp_path, 2, "test", 0.01).value == 0.5
    assert stored_threshold(tmp_path, 2, "test_ema", 0.01).value == 0.6
    assert stored_threshold(tmp_path, 2, "test", 0.02) is None
    assert stored_threshold(tmp_path, 3, "test", 0.01) is None
    with pytest.raises(ValueError, match="accepts no pair of its test set.*say --threshold"):
        stored_threshold(tmp_path, 4, "test", 0.01)


def test_pairs_without_folds_and_with_few_pairs(opened):
    run, variables = opened
    chosen = np.array([[0, 1], [0, 5], [5, 6], [6, 10]])
    same = np.array([True, False, True, False])
    few = VerificationPairs(images=run.test_source, pairs=chosen, same=same)
    found = verify_pairs(run, variables, few)
    assert (found["genuine_pairs"], found["impostor_pairs"]) == (2, 2)
    assert "fold_accuracy" not in found
    assert not any("far" in name for name in found)  # two impostor pairs stand for no rate
    folded = dataclasses.replace(few, folds=np.array([0, 0, 1, 1]))
    assert 0 <= verify_pairs(run, variables, folded)["fold_accuracy"] <= 1


class OneFace:
    """A detector that finds `count` faces in the middle of every picture."""

    def __init__(self, count):
        self.count = count

    def detect(self, image):
        height, width = image.shape[:2]
        eyes = np.array([[0.35 * width, 0.4 * height], [0.65 * width, 0.4 * height]])
        box = np.array([0, 0, width, height], np.float32)
        face = Face(box=box, landmarks=landmarks_from_eyes(eyes), score=1.0)
        return [face] * self.count


def test_faces_that_are_found_get_the_shape_of_the_run(tmp_path):
    rng = np.random.default_rng(0)
    photo = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 256, (60, 60, 3), np.uint8)).save(photo)
    sized = ImageReader(size=(32, 28), channels=1)
    reader = FaceReader(image_reader=sized, detector=OneFace(1))
    assert reader(str(photo)).shape == (32, 28, 1)
    square = dataclasses.replace(reader, image_reader=ImageReader(size=32, channels=1))(str(photo))
    np.testing.assert_array_equal(reader(str(photo)), square[:, 2:30])
    colored = FaceReader(image_reader=ImageReader(size=(16, 8)), aligned=True)
    assert colored(str(photo)).shape == colored.shape == (16, 8, 3)
    small = FaceReader(image_reader=ImageReader(size=8, max_pixels=3599), detector=OneFace(1))
    with pytest.raises(ValueError, match="photo.png: .*60x60 pixels, above the limit 3599"):
        small(str(photo))
    with pytest.raises(ValueError, match="give the image_reader a size"):
        FaceReader(image_reader=ImageReader())


def test_unusable_photos_are_named_all_at_once_or_left_out(tmp_path):
    good, broken = tmp_path / "good.png", tmp_path / "broken.png"
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(good)
    broken.write_bytes(b"no picture")
    files = [str(broken), str(good), str(tmp_path / "missing.png")]
    sized = ImageReader(size=8, channels=1)
    reader = FaceReader(image_reader=sized, aligned=True)
    with pytest.raises(ValueError, match=r"2 of 3 photos.*broken.png.*missing.png: cannot be read"):
        read_faces(files, reader)
    faces = read_faces(files, reader, skip_bad=True)
    assert (faces.kept, list(faces.failed), len(faces.pictures)) == ([1], [files[0], files[2]], 1)
    with pytest.raises(ValueError, match=r"good.png: no face found in 20x20 pixels"):
        read_faces([str(good)], FaceReader(image_reader=sized, detector=OneFace(0)))
    two = FaceReader(image_reader=sized, detector=OneFace(2))
    with pytest.raises(ValueError, match=r"good.png: 2 faces found .*--largest"):
        read_faces([str(good)], two)
    assert len(read_faces([str(good)], dataclasses.replace(two, largest=True)).pictures) == 1


def test_folders_of_people(people, tmp_path):
    found = find_people([str(people)])
    assert len(found) == 35
    assert found[5] == ("p1", str(people / "p1" / "p1_0001.png"))
    (tmp_path / "empty" / "nobody").mkdir(parents=True)
    for folder, message in (
        ("nowhere", "nowhere: no such folder"),
        ("empty/nobody", "there are no folders of people in it"),
        ("empty", "nobody: there are no photos in this person's folder"),
    ):
        with pytest.raises(ValueError, match=message):
            find_people([str(tmp_path / folder)])
    with pytest.raises(ValueError, match="p1_0001.png lies in no person's folder.*--subject"):
        find_people([str(people / "p1")])
    with pytest.raises(ValueError, match="is a file; say whose photo it is: --subject NAME"):
        find_people([found[0][1]])


@pytest.mark.parametrize(
    ("score", "said"), [(0.7, "same person"), (0.4, "same person"), (-0.9, "different people")]
)
def test_pair_figure_shows_both_faces_and_the_verdict(score, said, tmp_path):
    faces = (np.zeros((32, 28, 1), np.uint8), np.full((32, 28, 1), 255, np.uint8))
    figure = pair_figure(faces, ("a.png", "x" * 50), score=score, threshold=0.4)
    assert figure.get_suptitle() == f"{said}: score {score:.3f}, threshold 0.400"
    first, second, scale = figure.axes
    assert first.get_title() == "a.png"
    assert second.get_title() == "…" + "x" * 33
    assert scale.get_xlim()[0] < score < scale.get_xlim()[1]
    figure.savefig(tmp_path / "pair.png")
    pixels = np.asarray(Image.open(tmp_path / "pair.png").convert("L"))
    half = pixels.shape[1] // 2
    # A black face at the left, a white one at the right, of 2.6 inches at 120 dots.
    assert np.mean(pixels[:, :half] < 10) > 0.4
    assert np.mean(pixels[:, half:] < 10) < 0.1
