"""The speed-run preset: fits together, and its rates are those of the recipe for sums."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcv.configs import cifar10_speedrun
from jaxcv.data import Synthetic
from jaxcv.train import Runtime, read_config, train, write_config
from jaxcv.train.parameter_groups import group_numbers


def test_preset_fits_together(tmp_path):
    experiment = cifar10_speedrun.experiment()
    assert "jaxcv train cifar10_speedrun --workdir" in cifar10_speedrun.__doc__
    assert experiment.total_steps(50_000) == 200
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    outputs, variables = jax.eval_shape(
        experiment.model.init_with_output, jax.random.key(0), images
    )
    experiment.task.check_outputs(outputs, images)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 1_971_352
    write_config(tmp_path / "config.json", experiment)
    assert read_config(tmp_path / "config.json") == experiment


def test_every_parameter_is_trained_as_the_recipe_says():
    experiment = cifar10_speedrun.experiment()
    params = jax.eval_shape(
        lambda: experiment.model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    )
    numbers = group_numbers(experiment.optimizer.groups, params)["model"]
    assert numbers["whitening"] == {"bias": 0}
    assert numbers["classifier"] == {"kernel": 2}
    for block in ("block_1", "block_2", "block_3"):
        assert numbers[block] == {
            "conv_1": {"kernel": -1},
            "conv_2": {"kernel": -1},
            "norm_1": {"bias": 1},
            "norm_2": {"bias": 1},
        }


@pytest.mark.parametrize("which", [0, 1, 2])
def test_mean_loss_at_our_rates_is_the_sum_at_the_recipes(which):
    group = cifar10_speedrun.experiment().optimizer.groups[which]
    rate, batch = (0.053, 0.053, 0.67)[which], 2000
    last = (75, 200, 200)[which]
    ours = group.transformation(200, None)
    theirs = optax.chain(
        optax.add_decayed_weights(2e-6 * batch / rate),
        optax.sgd(optax.linear_schedule(rate, 0.0, last), momentum=0.85, nesterov=True),
    )
    mean_gradients = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32) / 1000
    params = other = jnp.ones(4)
    state, other_state = ours.init(params), theirs.init(other)
    for gradient in mean_gradients:
        updates, state = ours.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        updates, other_state = theirs.update(gradient * batch, other_state, other)
        other = optax.apply_updates(other, updates)
    np.testing.assert_allclose(params, other, rtol=1e-5)
    assert float(group.schedule.rate(1.0, 200)(last - 1)) > 0
    assert float(group.schedule.rate(1.0, 200)(last)) == 0


@pytest.mark.slow
def test_narrow_recipe_learns_and_device_count_does_not_matter(tmp_path):
    data = Synthetic(num_examples=240, num_test_examples=60, image_size=16, num_classes=4)
    recipe = cifar10_speedrun.recipe((4, 6, 8), batch_size=40, epochs=4, dtype="float32")
    experiment = replace(
        recipe,
        data=data,
        model=replace(recipe.model, model=recipe.model.model.clone(num_classes=4)),
        task=replace(recipe.task, num_classes=4),
        eval_batch_size=60,
    )
    results = train(experiment, tmp_path / "one", Runtime(devices=1))
    assert results["test"]["accuracy"] > 0.6  # 0.25 by chance
    several = train(experiment, tmp_path / "four", Runtime(devices=4))
    assert several["test"]["loss"] == pytest.approx(results["test"]["loss"], rel=0.02)
