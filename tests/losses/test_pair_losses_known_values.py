"""Losses on pairs, triplets and proxies by hand and beside optax and PyTorch; bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcv.losses.pairs import contrastive, pairwise, proxies, triplets
from tests.losses.pair_cases import EMBEDDINGS, LABELS, MASK, PROXIES, B, C, partners_of, quick_jit


def test_given_pairs_and_triplets_by_hand():
    zero, x = jnp.zeros((3, 2)), jnp.array([[0.6, 0.8], [0.3, 0.4], [3.0, 4.0]])
    # Distances 1, 1/2 and 5; margin 2.
    same = pairwise.contrastive_loss(zero, x, jnp.ones(3, bool), margin=2.0)
    np.testing.assert_allclose(same, [0.5, 0.125, 12.5], rtol=1e-6)
    apart = pairwise.contrastive_loss(zero, x, jnp.zeros(3, bool), margin=2.0)
    np.testing.assert_allclose(apart, [0.5, 1.125, 0.0], rtol=1e-6)
    rows = zero, x, x[::-1]
    plain = triplets.triplet_loss(*rows, margin=1.0)  # 1 - 5 + 1, 1/2 - 1/2 + 1, 5 - 1 + 1.
    np.testing.assert_allclose(plain, [0.0, 1.0, 5.0], rtol=1e-6)
    soft = triplets.triplet_loss(*rows, margin="soft")
    np.testing.assert_allclose(soft, np.log1p(np.exp([-4.0, 0.0, 4.0])), rtol=1e-6)
    cosine = triplets.triplet_loss(x, x, -x, margin=0.5, distance="cosine")  # 0 - 2 + 1/2 < 0.
    np.testing.assert_allclose(cosine, 0.0)
    swapped = triplets.triplet_loss(*rows, margin=1.0, swap=True)  # Third: 5 - min(1, 4) + 1.
    np.testing.assert_allclose(swapped, [0.0, 1.5, 5.0], rtol=1e-6)


def test_four_points_on_a_line_by_hand():
    x, y = jnp.array([[0.0], [1.0], [3.0], [7.0]]), jnp.array([0, 0, 1, 1])
    # Hard: anchors 0..3 have farthest positive, nearest negative (1, 3), (1, 2), (4, 2), (4, 6).
    run = quick_jit(
        lambda mining: triplets.batch_triplet_loss(x, y, mining=mining, margin=1.0),
        static_argnums=0,
    )
    hard = run("hard")
    np.testing.assert_allclose(hard, [0.0, 0.0, 3.0, 0.0], rtol=1e-6)
    # All: gaps 1 - (3, 7), 1 - (2, 6), 4 - (3, 2), 4 - (7, 6), margin 1: losses 2 and 3 only.
    every = run("all")
    np.testing.assert_allclose(every.mean(), 5 / 8, rtol=1e-6)
    violating = run("violating")
    np.testing.assert_allclose(violating.mean(), 5 / 2, rtol=1e-6)
    # Semi-hard: anchor 2 has no negative beyond 4, so its farthest one, at 3: 4 - 3 + 1.
    semi = run("semi_hard")
    np.testing.assert_allclose(semi, [0.0, 0.0, 2.0, 0.0], rtol=1e-6)


def test_centers_move_by_the_papers_rule_on_one_and_on_eight_devices():
    expected = PROXIES.astype(np.float64)
    x = EMBEDDINGS[MASK].astype(np.float64)
    for c in range(C):
        members = x[LABELS[MASK] == c]
        expected[c] -= 0.5 * (PROXIES[c] - members).sum(0) / (1 + len(members))
    moved = proxies.updated_centers(PROXIES, EMBEDDINGS, LABELS, mask=MASK)
    np.testing.assert_allclose(moved, expected, rtol=1e-5)
    stray = proxies.updated_centers(PROXIES, EMBEDDINGS, np.where(MASK, LABELS, -1))
    np.testing.assert_allclose(stray, expected, rtol=1e-5)
    mapped = jax.pmap(
        lambda x, y, m: proxies.updated_centers(PROXIES, x, y, mask=m, axis_name="devices"),
        axis_name="devices",
    )(*(a.reshape(8, 2, *a.shape[1:]) for a in (EMBEDDINGS, LABELS, MASK)))
    for device in range(8):
        np.testing.assert_allclose(mapped[device], expected, rtol=1e-5)


def test_labels_without_a_proxy_give_nan_rather_than_another_classs_loss():
    y = jnp.array([0, C, -1])
    for loss in (proxies.proxy_nca_loss, proxies.proxy_anchor_loss, proxies.center_loss):
        found = np.isnan(quick_jit(loss)(EMBEDDINGS[:3], y, PROXIES))
        np.testing.assert_array_equal(found, [False, True, True])


def test_ntxent_equals_optax():
    x = jnp.asarray(EMBEDDINGS[MASK])
    y = jnp.asarray(LABELS[MASK])
    ours = quick_jit(contrastive.ntxent_loss)(x, y, temperature=0.3)
    theirs = quick_jit(optax.losses.ntxent)(x, y, temperature=0.3)
    np.testing.assert_allclose(ours.mean(), theirs, rtol=1e-5)


@pytest.mark.parametrize("swap", [False, True])
def test_triplet_loss_equals_pytorch(swap):
    torch = pytest.importorskip("torch")
    rows = [EMBEDDINGS, partners_of(EMBEDDINGS), EMBEDDINGS[::-1].copy()]
    tensors = [torch.tensor(r, requires_grad=True) for r in rows]
    theirs = torch.nn.TripletMarginLoss(margin=1.0, swap=swap, reduction="none", eps=0.0)(*tensors)
    theirs.sum().backward()

    def total(*rows):
        values = triplets.triplet_loss(*rows, margin=1.0, swap=swap)
        return values.sum(), values

    gradients, values = quick_jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(*rows)
    np.testing.assert_allclose(values, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
    for ours, tensor in zip(gradients, tensors):
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_n_pairs_is_pytorchs_cross_entropy_of_the_product_matrix():
    torch = pytest.importorskip("torch")
    second = partners_of(EMBEDDINGS)
    a, p = torch.tensor(EMBEDDINGS), torch.tensor(second)
    theirs = torch.nn.functional.cross_entropy(a @ p.T, torch.arange(B), reduction="none")
    ours = quick_jit(contrastive.n_pairs_loss)(EMBEDDINGS, second)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-5)


X, Y = jnp.asarray(EMBEDDINGS), jnp.asarray(LABELS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pairwise.circle_loss(X[0], Y), r"embeddings has shape \[3\], but \[B, D\]"),
        (lambda: pairwise.circle_loss(X, Y[:3]), r"labels has shape \[3\], but \[16\]"),
        (lambda: pairwise.circle_loss(X, Y.astype(float)), "labels have dtype float32"),
        (lambda: pairwise.circle_loss(X, Y, mask=MASK[:2]), r"mask has shape \[2\]"),
        (lambda: pairwise.circle_loss(X, Y, scale=0.0), "scale is 0.0"),
        (lambda: pairwise.ranked_list_loss(X, Y, negative_weight=1.5), "negative_weight is 1.5"),
        (lambda: pairwise.multi_similarity_loss(X, Y, threshold=2.0), "threshold is 2.0"),
        (
            lambda: pairwise.lifted_structure_loss(X, Y, axis_name="nowhere"),
            "axis_name is 'nowhere'",
        ),
        (lambda: pairwise.contrastive_loss(X, X[:, :2], Y > 0), "second has shape"),
        (lambda: contrastive.ntxent_loss(X, Y, temperature=0.0), "temperature is 0.0"),
        (lambda: contrastive.supervised_contrastive_loss(X, Y, average="no"), "average is 'no'"),
        (lambda: contrastive.n_pairs_loss(X, X[:3]), "positives has shape"),
        (lambda: triplets.batch_triplet_loss(X, Y, mining="best"), "mining is 'best'"),
        (lambda: triplets.batch_triplet_loss(X, Y, margin=-1.0), "margin is -1.0"),
        (lambda: triplets.triplet_loss(X, X, X, distance="l1"), "distance is 'l1'"),
        (lambda: triplets.triplet_loss(X, X, X, margin="hard"), "margin is 'hard'"),
        (lambda: proxies.proxy_nca_loss(X, Y, X[:, :2]), r"proxies has shape \[16, 2\]"),
        (lambda: proxies.updated_centers(X, X, Y, rate=2.0), "rate is 2.0"),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(call)  # At trace time.
