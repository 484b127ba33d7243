"""EmbeddingClassifier: a classifier in parts, embeddings at evaluation, and its configuration."""

import doctest
import json
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxcv.models import (
    MLP,
    EmbeddingClassifier,
    FaceCNN,
    IResNet,
    MobileFaceNet,
    SmallCNN,
    embedding,
)
from jaxcv.train import AXIS
from jaxcv.train.config_file import from_json, to_json
from tests.models.drawn_variables import draw_variables

E, IMAGE = 8, (6, 6, 1)
SMALL = EmbeddingClassifier(MLP(num_classes=E, hidden=(5,)), 10, embedding_size=E)


def images_of(batch=4, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(batch, *IMAGE)), jnp.float32)


def initialized(model, image=IMAGE):
    images = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({}, (128, E)),
        ({"num_classes": 128}, (128, E)),
        ({"num_classes": 129}, (256, E)),
        ({"multiple_of": 8}, (16, E)),
        ({"multiple_of": 1, "sub_centers": 3}, (10, 3, E)),
    ],
)
def test_the_classifier_is_padded_and_marked_as_spread_over_devices(settings, shape):
    variables = initialized(SMALL.clone(**settings))
    assert nn.unbox(variables)["params"]["classifier"].shape == shape
    assert nn.unbox(variables)["params"]["classifier"].dtype == jnp.float32
    specs = nn.get_partition_spec(variables)["params"]
    assert specs["classifier"] == P(AXIS, *[None] * (len(shape) - 1))
    assert set(jax.tree.leaves(specs["backbone"], is_leaf=lambda x: isinstance(x, P))) == {P()}


def test_no_classes_make_no_classifier():
    model = SMALL.clone(num_classes=0)
    images = images_of()
    variables = model.init(jax.random.key(0), images)
    assert set(variables["params"]) == {"backbone"}
    for train in (False, True):
        outputs = model.apply(variables, images, train=train)
        assert outputs.classifier is None
        assert len(jax.tree.leaves(outputs)) == 1


def test_rows_start_small_and_differ():
    variables = nn.unbox(
        jax.jit(SMALL.clone(num_classes=1000).init)(jax.random.key(0), images_of())
    )
    rows = variables["params"]["classifier"]
    np.testing.assert_allclose(rows.std(), 0.01, rtol=0.05)
    assert len(np.unique(rows)) > 0.9 * rows.size


def test_a_part_of_the_rows_boxed_or_not_is_handed_on():
    images, boxed = images_of(), SMALL.init(jax.random.key(0), images_of())
    whole = nn.unbox(boxed)
    for train in (True, False):
        outputs = SMALL.apply(whole, images, train=train)
        again = SMALL.apply(boxed, images, train=train)
        jax.tree.map(np.testing.assert_array_equal, outputs, again)
        half = {"params": {**whole["params"], "classifier": whole["params"]["classifier"][64:]}}
        part = SMALL.apply(half, images, train=train)
        np.testing.assert_array_equal(part.classifier, outputs.classifier[64:])
        np.testing.assert_array_equal(part.embedding, outputs.embedding)


def test_each_device_sees_its_rows_and_their_gradient_is_its_own():
    images, variables = images_of(8), nn.unbox(SMALL.init(jax.random.key(0), images_of()))
    mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
    specs = {"params": {"backbone": P(), "classifier": P(AXIS)}}

    def loss(variables, images):
        outputs = SMALL.apply(variables, images, train=True)
        assert outputs.classifier.shape == (32, E)
        rows = jax.lax.axis_index(AXIS) * 32 + jnp.arange(32)[:, None]
        return jnp.sum(outputs.classifier * rows)

    gradient = jax.jit(
        jax.shard_map(
            lambda v, x: jax.grad(loss)(v, x)["params"]["classifier"],
            mesh=mesh,
            in_specs=(specs, P(AXIS)),
            out_specs=P(AXIS),
            check_vma=False,
        )
    )(variables, images)
    np.testing.assert_array_equal(gradient, np.repeat(np.arange(128.0)[:, None], E, axis=1))


def test_an_exported_embedder_needs_no_classifier_until_it_is_trained():
    images, variables = images_of(), nn.unbox(SMALL.init(jax.random.key(0), images_of()))
    exported = {"params": {"backbone": variables["params"]["backbone"]}}
    outputs = SMALL.apply(exported, images)
    assert outputs.classifier is None
    np.testing.assert_array_equal(outputs.embedding, SMALL.apply(variables, images).embedding)
    with pytest.raises(ValueError, match="no classifier of 10 people"):
        SMALL.apply(exported, images, train=True)


def test_embeddings_are_raw_in_training_and_of_length_1_in_evaluation():
    images, variables = images_of(), draw_variables(SMALL.clone(num_classes=0), images_of())
    model = SMALL.clone(num_classes=0)
    backbone = {"params": variables["params"]["backbone"]}
    raw = np.asarray(model.backbone.apply(backbone, images))
    np.testing.assert_allclose(model.apply(variables, images, train=True).embedding, raw, rtol=1e-6)
    plain = model.clone(normalize=False).apply(variables, images).embedding
    np.testing.assert_allclose(plain, raw, rtol=1e-6)
    unit = model.apply(variables, images).embedding
    np.testing.assert_allclose(unit, raw / np.linalg.norm(raw, axis=1, keepdims=True), rtol=1e-5)

    mirrored = np.asarray(model.backbone.apply(backbone, images[:, :, ::-1]))
    assert not np.allclose(mirrored, raw, atol=1e-2)
    flipped = model.clone(flip_test=True)
    total = raw + mirrored
    np.testing.assert_allclose(
        flipped.apply(variables, images).embedding,
        total / np.linalg.norm(total, axis=1, keepdims=True),
        rtol=1e-5,
        atol=1e-7,  # Where image and mirror image nearly cancel, a sum of two has few digits.
    )
    # An image and its mirror image are then one.
    np.testing.assert_allclose(
        flipped.apply(variables, images).embedding,
        flipped.apply(variables, images[:, :, ::-1]).embedding,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        flipped.clone(normalize=False).apply(variables, images).embedding,
        total / 2,
        rtol=1e-5,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        flipped.apply(variables, images, train=True).embedding, raw, rtol=1e-6
    )


def test_a_zero_embedding_stays_zero():
    model, images = SMALL.clone(num_classes=0), images_of()
    zeros = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0), images))
    np.testing.assert_array_equal(model.apply(zeros, images).embedding, 0)


def test_a_mask_reaches_the_statistics_of_the_backbone():
    model = EmbeddingClassifier(SmallCNN(num_classes=E, widths=(2, 2)), 0, embedding_size=E)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 1)), jnp.float32)
    variables = draw_variables(model, images)

    @jax.jit
    def run(mask, images):
        return model.apply(variables, images, train=True, mask=mask, mutable="batch_stats")

    mask = jnp.array([True, True, False])
    (outputs, first), (again, second) = run(mask, images), run(mask, images.at[2].mul(50))
    np.testing.assert_array_equal(outputs.embedding[:2], again.embedding[:2])
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match=r"FaceCNN gives \(2, 1\); set FaceCNN\(num_classes=8\)"):
        initialized(EmbeddingClassifier(FaceCNN(), 10, embedding_size=E), (16, 16, 3))
    with pytest.raises(ValueError, match=r"set MobileFaceNet\(embedding_size=8\)"):
        initialized(EmbeddingClassifier(MobileFaceNet(), 10, embedding_size=E), (16, 16, 3))
    with pytest.raises(ValueError, match="num_classes >= 0, found -1"):
        initialized(SMALL.clone(num_classes=-1))
    with pytest.raises(ValueError, match="multiple_of >= 1, found 0"):
        initialized(SMALL.clone(multiple_of=0))
    variables = SMALL.init(jax.random.key(0), images_of())
    with pytest.raises(ValueError, match=r"\(128, 8\).*\[rows, 2, 8\]"):
        SMALL.clone(sub_centers=2).apply(variables, images_of())


@pytest.mark.parametrize(
    "model",
    [
        EmbeddingClassifier(FaceCNN(num_classes=128), 30, embedding_size=128, flip_test=True),
        EmbeddingClassifier(IResNet(depth=100, dtype="bfloat16", axis_name=AXIS), 93431),
        EmbeddingClassifier(MobileFaceNet(width=0.5), 7, sub_centers=3),
    ],
)
def test_it_comes_back_from_json(model):
    written = json.dumps(to_json(model))
    assert from_json(json.loads(written)) == model


def test_a_command_line_reaches_the_backbone():
    @dataclass(frozen=True, kw_only=True)
    class Run:
        model: nn.Module

    words = "--model.num-classes 7 --model.flip-test True --model.backbone.depth 50"
    words += " --model.backbone.dropout 0.4"
    start = Run(model=EmbeddingClassifier(IResNet(depth=18), 10))
    edited = tyro.cli(
        Run,
        default=start,
        args=words.split(),
        config=(tyro.conf.FlagConversionOff,),
    )
    wanted = EmbeddingClassifier(IResNet(depth=50, dropout=0.4), 7, flip_test=True)
    assert edited == Run(model=wanted)


def test_examples_run():
    result = doctest.testmod(embedding)
    assert result.attempted
    assert not result.failed
