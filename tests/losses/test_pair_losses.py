"""Losses on pairs, triplets and proxies, against loops in float64 and over eight devices.

Every loss is computed once, all in one compiled function, on one batch of 16 rows; the references
know nothing of masks or devices: they get the valid rows alone, and loop.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec

from jaxcv.losses import contrastive, pairs, proxies, triplets

B, D, C = 16, 3, 5
LABELS = np.array([0, 1, 0, 1, 2, 2, 0, 3, 1, 2, 2, 0, 4, 1, 0, 2], np.int32)  # 3 and 4: alone.
MASK = np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 1], bool)
EMBEDDINGS = np.random.default_rng(0).normal(size=(B, D)).astype(np.float32)
PROXIES = np.random.default_rng(1).normal(size=(C, D)).astype(np.float32)

# LLVM's optimisations would take most of the time of these tests.
QUICK = {"xla_backend_optimization_level": 0}
quick_jit = functools.partial(jax.jit, compiler_options=QUICK)


def partners_of(x):
    """Partners for the losses that take given pairs: another column order, moved."""
    return x[:, ::-1].astype(np.promote_types(x.dtype, np.float32)) * 0.7 + 0.5


# References: the published loss, a number, of rows x [n, D] with labels y, float64. `x0` is the
# point at which what the loss calls constant (weights, chosen triplets) is computed.


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def cosines(x):
    return unit(x) @ unit(x).T


def distances(x):
    return np.sqrt(np.maximum(np.square(x[:, None] - x[None]).sum(-1), 1e-300))


def partners(y, i):
    same = [j for j in range(len(y)) if y[j] == y[i] and j != i]
    return same, [j for j in range(len(y)) if y[j] != y[i]]


def hinge(x):
    return max(x, 0.0)


def ref_contrastive(x, y, x0, margin=1.0):
    d, n = distances(x), len(y)
    terms = [
        (d[i, j] ** 2 if y[i] == y[j] else hinge(margin - d[i, j]) ** 2) / 2
        for i in range(n)
        for j in range(i)
    ]
    return np.mean(terms)


def ref_lifted(x, y, x0, margin=1.0):
    d, terms = distances(x), []
    for i in range(len(y)):
        for j in partners(y, i)[0]:
            if j > i:
                near = sum(np.exp(margin - d[i, k]) for k in partners(y, i)[1])
                near += sum(np.exp(margin - d[j, k]) for k in partners(y, j)[1])
                terms.append(hinge(d[i, j] + np.log(near)) ** 2 / 2)
    return np.mean(terms)


def ref_multi_similarity(x, y, x0, mining=0.1, a=2.0, b=50.0, t=0.5):
    s, s0, loss = cosines(x), cosines(x0), 0.0
    for i in range(len(y)):
        p, n = partners(y, i)
        if mining is not None:
            easiest = max(s0[i, n]), min(s0[i, p], default=np.inf)
            p = [j for j in p if s0[i, j] - mining < easiest[0]]
            n = [j for j in n if s0[i, j] + mining > easiest[1]]
        loss += np.log1p(np.exp(-a * (s[i, p] - t)).sum()) / a
        loss += np.log1p(np.exp(b * (s[i, n] - t)).sum()) / b
    return loss / len(y)


def ref_circle(x, y, x0, m=0.25, scale=16.0):
    s, s0, terms = cosines(x), cosines(x0), []
    for i in range(len(y)):
        p, n = partners(y, i)
        if p and n:
            pull = np.exp(-scale * np.maximum(1 + m - s0[i, p], 0) * (s[i, p] - 1 + m)).sum()
            push = np.exp(scale * np.maximum(s0[i, n] + m, 0) * (s[i, n] - m)).sum()
            terms.append(np.log1p(pull * push))
    return np.mean(terms)


def ref_ranked_list(x, y, x0, boundary=1.2, m=0.4, tn=10.0, tp=0.0, w=0.5):
    d, d0, loss = distances(unit(x)), distances(unit(x0)), 0.0
    for i in range(len(y)):
        p, n = partners(y, i)
        p = [j for j in p if d0[i, j] > boundary - m]
        n = [j for j in n if d0[i, j] < boundary]
        if p:
            weights = np.exp(tp * (d0[i, p] - (boundary - m)))
            loss += (1 - w) * np.average(d[i, p] - (boundary - m), weights=weights)
        if n:
            loss += w * np.average(boundary - d[i, n], weights=np.exp(tn * (boundary - d0[i, n])))
    return loss / len(y)


def ref_ntxent(x, y, x0, temperature=0.5):
    s, terms = np.exp(cosines(x) / temperature), []
    for i in range(len(y)):
        p, n = partners(y, i)
        terms += [-np.log(s[i, j] / (s[i, j] + s[i, n].sum())) for j in p]
    return np.mean(terms)


def ref_supervised_contrastive(x, y, x0, temperature=0.1, inside=False):
    s, terms = np.exp(cosines(x) / temperature), []
    for i in range(len(y)):
        p, n = partners(y, i)
        if p:
            q = s[i, p] / s[i, p + n].sum()
            terms.append(-np.log(q.mean()) if inside else -np.log(q).mean())
    return np.mean(terms)


def ref_n_pairs(x, y, x0, by_label=False):
    products = x @ partners_of(x).T
    n = len(y)
    terms = []
    for i in range(n):
        others = [j for j in range(n) if (y[i] != y[j] if by_label else i != j)]
        terms.append(np.log1p(np.exp(products[i, others] - products[i, i]).sum()))
    return np.mean(terms)


def ref_triplets(x, y, x0, mining, margin, distance="euclidean"):
    def matrix(x):
        if distance == "cosine":
            return 1 - cosines(x)
        return distances(x) ** (2 if distance == "squared_euclidean" else 1)

    d, d0, terms = matrix(x), matrix(x0), []
    for i in range(len(y)):
        p, n = partners(y, i)
        if not (p and n):
            continue
        if mining in ("all", "violating"):
            chosen = [(j, k) for j in p for k in n]
        elif mining == "hard":
            chosen = [(p[np.argmax(d0[i, p])], n[np.argmin(d0[i, n])])]
        else:
            chosen = []
            for j in p:
                farther = [k for k in n if d0[i, k] > d0[i, j]]
                chosen.append(
                    (j, min(farther, key=lambda k: d0[i, k]))
                    if farther
                    else (j, max(n, key=lambda k: d0[i, k]))
                )
        gaps = [d[i, j] - d[i, k] for j, k in chosen]
        if margin == "soft":
            terms += [np.log1p(np.exp(g)) for g in gaps]
        else:
            terms += [hinge(g + margin) for g in gaps]
    terms = [t for t in terms if t > 0] if mining == "violating" else terms
    return np.mean(terms)


def ref_proxy_nca(x, y, x0, scale=3.0, positive=False):
    d = np.square(unit(x)[:, None] - unit(PROXIES.astype(float))[None]).sum(-1)
    terms = []
    for i in range(len(y)):
        others = [c for c in range(C) if positive or c != y[i]]
        terms.append(scale * d[i, y[i]] + np.log(np.exp(-scale * d[i, others]).sum()))
    return np.mean(terms)


def ref_proxy_anchor(x, y, x0, m=0.1, scale=32.0):
    s = unit(x) @ unit(PROXIES.astype(float)).T
    pull = [np.log1p(np.exp(-scale * (s[y == c, c] - m)).sum()) for c in range(C) if c in y]
    push = [np.log1p(np.exp(scale * (s[y != c, c] + m)).sum()) for c in range(C)]
    return np.mean(pull) + np.mean(push)


def ref_center(x, y, x0):
    return np.square(x - PROXIES[y]).sum(1).mean() / 2


LOSSES: dict[str, tuple[Callable, Callable]] = {
    "contrastive": (pairs.batch_contrastive_loss, ref_contrastive),
    "lifted": (pairs.lifted_structure_loss, ref_lifted),
    "multi_similarity": (pairs.multi_similarity_loss, ref_multi_similarity),
    "multi_similarity_all": (
        functools.partial(pairs.multi_similarity_loss, mining_margin=None),
        functools.partial(ref_multi_similarity, mining=None),
    ),
    "circle": (functools.partial(pairs.circle_loss, scale=16.0), ref_circle),
    "ranked_list": (pairs.ranked_list_loss, ref_ranked_list),
    "ranked_list_weighted": (
        functools.partial(pairs.ranked_list_loss, positive_temperature=5.0, negative_weight=0.3),
        functools.partial(ref_ranked_list, tp=5.0, w=0.3),
    ),
    "ntxent": (functools.partial(contrastive.ntxent_loss, temperature=0.5), ref_ntxent),
    "supcon": (contrastive.supervised_contrastive_loss, ref_supervised_contrastive),
    "supcon_inside": (
        functools.partial(contrastive.supervised_contrastive_loss, average="inside"),
        functools.partial(ref_supervised_contrastive, inside=True),
    ),
    "proxy_nca": (
        lambda x, y, **o: proxies.proxy_nca_loss(x, y, PROXIES, scale=3.0, **_no_axis(o)),
        ref_proxy_nca,
    ),
    "proxy_nca_softmax": (
        lambda x, y, **o: proxies.proxy_nca_loss(
            x, y, PROXIES, scale=3.0, include_positive=True, **_no_axis(o)
        ),
        functools.partial(ref_proxy_nca, positive=True),
    ),
    "proxy_anchor": (
        lambda x, y, **o: proxies.proxy_anchor_loss(x, y, PROXIES, **o),
        ref_proxy_anchor,
    ),
    "n_pairs": (lambda x, y, **o: contrastive.n_pairs_loss(x, partners_of(x), **o), ref_n_pairs),
    "n_pairs_labels": (
        lambda x, y, **o: contrastive.n_pairs_loss(x, partners_of(x), y, **o),
        functools.partial(ref_n_pairs, by_label=True),
    ),
    "center": (lambda x, y, **o: proxies.center_loss(x, y, PROXIES, **_no_axis(o)), ref_center),
}
for _mining in ("all", "violating", "hard", "semi_hard"):
    LOSSES[f"triplet_{_mining}"] = (
        functools.partial(triplets.batch_triplet_loss, mining=_mining, margin=0.5),
        functools.partial(ref_triplets, mining=_mining, margin=0.5),
    )
for _distance in ("squared_euclidean", "cosine"):
    LOSSES[f"triplet_soft_{_distance}"] = (
        functools.partial(triplets.batch_triplet_loss, margin="soft", distance=_distance),
        functools.partial(ref_triplets, mining="hard", margin="soft", distance=_distance),
    )


def _no_axis(options):
    return {k: v for k, v in options.items() if k != "axis_name"}


def evaluate(embeddings, labels, mask, axis_name=None):
    """Values [B] and gradients [B, D] of the mean over valid rows, of every loss."""

    def mean(loss, x):
        values = loss(x, labels, mask=mask, axis_name=axis_name)
        rows = jnp.sum(mask)
        if axis_name is not None:
            rows = jax.lax.psum(rows, axis_name)
        return jnp.sum(values) / jnp.maximum(rows, 1), values

    results = {}
    for name, (loss, _) in LOSSES.items():
        gradient, values = jax.grad(functools.partial(mean, loss), has_aux=True)(embeddings)
        results[name] = values, gradient
    return results


_compiled = quick_jit(evaluate)


@functools.cache
def results():
    return jax.device_get(_compiled(EMBEDDINGS, LABELS, MASK))


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_equal_the_loops_on_the_valid_rows(name):
    values, gradient = results()[name]
    x, y = EMBEDDINGS[MASK].astype(np.float64), LABELS[MASK]
    loss = LOSSES[name][1]
    expected = loss(x, y, x)
    assert values.shape == (B,)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[MASK].mean(), expected, rtol=2e-5)
    assert np.all(values[~MASK] == 0)
    assert np.all(gradient[~MASK] == 0)
    rng = np.random.default_rng(2)
    for _ in range(4):  # Central differences in random directions, float64.
        direction = rng.normal(size=x.shape)
        step = 1e-5
        slope = (loss(x + step * direction, y, x) - loss(x - step * direction, y, x)) / (2 * step)
        scale = np.abs(gradient[MASK] * direction).sum()
        assert abs((gradient[MASK] * direction).sum() - slope) < 2e-4 * scale + 1e-6


def check_devices(mapped):
    """The same values and gradients from eight devices with two rows each."""
    for name, (values, gradient) in results().items():
        np.testing.assert_allclose(mapped[name][0].reshape(B), values, rtol=1e-5, atol=1e-6)
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(
            mapped[name][1].reshape(B, D), gradient, rtol=1e-4, atol=1e-5 * scale, err_msg=name
        )


def test_pmap_gives_the_single_device_values_and_gradients():
    split = [a.reshape(8, B // 8, *a.shape[1:]) for a in (EMBEDDINGS, LABELS, MASK)]
    mapped = jax.pmap(functools.partial(evaluate, axis_name="devices"), axis_name="devices")
    check_devices(jax.device_get(mapped.lower(*split).compile(QUICK)(*split)))


@pytest.mark.slow
def test_shard_map_gives_the_single_device_values_and_gradients():
    rows = PartitionSpec("devices")
    mapped = quick_jit(
        jax.shard_map(
            functools.partial(evaluate, axis_name="devices"),
            mesh=Mesh(np.array(jax.devices()), ("devices",)),
            in_specs=(rows, rows, rows),
            out_specs=rows,
            check_vma=False,
        )
    )
    check_devices(jax.device_get(mapped(EMBEDDINGS, LABELS, MASK)))


def test_finite_at_zero_equal_and_long_rows_and_with_nothing_to_compare():
    zero = np.zeros_like(EMBEDDINGS)
    equal = np.tile(EMBEDDINGS[:1], (B, 1))
    alone, one_class = np.arange(B, dtype=np.int32) % C, np.zeros(B, np.int32)
    for x, y, mask in [
        (zero, LABELS, MASK),
        (equal, LABELS, MASK),
        (-equal * (LABELS[:, None] % 2 * 2.0 - 1).astype(np.float32), LABELS, MASK),
        (EMBEDDINGS * 1e4, LABELS, MASK),
        (EMBEDDINGS * 1e-15, LABELS, MASK),
        (EMBEDDINGS, LABELS, np.zeros(B, bool)),
        (EMBEDDINGS, alone, np.arange(B) < C),
        (EMBEDDINGS, one_class, MASK),
        (np.where(MASK[:, None], EMBEDDINGS, np.nan), LABELS, MASK),
    ]:
        for name, (values, gradient) in _compiled(x, y, mask).items():
            assert np.isfinite(values).all(), name
            assert np.isfinite(gradient).all(), name
            if not mask.any():
                assert not np.any(values), name
                assert not np.any(gradient), name


@pytest.mark.slow
def test_half_precision_is_computed_in_float32():
    half = EMBEDDINGS.astype(jnp.bfloat16)
    exact = _compiled(half.astype(np.float32), LABELS, MASK)
    for name, (values, gradient) in _compiled(half, LABELS, MASK).items():
        assert values.dtype == jnp.float32, name
        assert gradient.dtype == jnp.bfloat16, name
        np.testing.assert_allclose(values, exact[name][0], rtol=1e-5, atol=1e-6, err_msg=name)
        scale = np.abs(exact[name][1]).max()
        np.testing.assert_allclose(
            gradient.astype(np.float32), exact[name][1], rtol=1e-2, atol=1e-2 * scale, err_msg=name
        )


def test_order_of_rows_and_names_of_labels_do_not_matter():
    order = np.random.default_rng(3).permutation(B)
    permuted = _compiled(EMBEDDINGS[order], LABELS[order], MASK[order])
    renamed = _compiled(EMBEDDINGS, np.array([3, 0, 4, 2, 1], np.int32)[LABELS], MASK)
    for name, (values, gradient) in results().items():
        np.testing.assert_allclose(permuted[name][0], values[order], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(permuted[name][1], gradient[order], rtol=1e-3, atol=1e-4)
        if "proxy" not in name and name != "center":  # Those know the classes.
            np.testing.assert_allclose(renamed[name][0], values, rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_vmap_and_forward_mode():
    batches = jnp.stack([EMBEDDINGS, 2 * EMBEDDINGS + 1])
    tangent = jnp.asarray(partners_of(EMBEDDINGS))

    def both(loss, x):
        run = lambda x: jnp.sum(loss(x, LABELS, mask=MASK))  # noqa: E731
        return jax.jvp(run, (x,), (tangent,)), jnp.vdot(jax.grad(run)(x), tangent)

    names = ["lifted", "circle", "triplet_all", "proxy_anchor"]
    run = lambda x: {n: both(LOSSES[n][0], x) for n in names}  # noqa: E731
    for name, ((values, forward), backward) in quick_jit(jax.vmap(run))(batches).items():
        np.testing.assert_allclose(forward, backward, rtol=1e-4, err_msg=name)
        np.testing.assert_allclose(values[0], results()[name][0].sum(), rtol=1e-5, err_msg=name)


# Known values.


def test_given_pairs_and_triplets_by_hand():
    zero, x = jnp.zeros((3, 2)), jnp.array([[0.6, 0.8], [0.3, 0.4], [3.0, 4.0]])
    # Distances 1, 1/2 and 5; margin 2.
    same = pairs.contrastive_loss(zero, x, jnp.ones(3, bool), margin=2.0)
    np.testing.assert_allclose(same, [0.5, 0.125, 12.5], rtol=1e-6)
    apart = pairs.contrastive_loss(zero, x, jnp.zeros(3, bool), margin=2.0)
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


# Independent implementations.


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


# Bad input.

X, Y = jnp.asarray(EMBEDDINGS), jnp.asarray(LABELS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pairs.circle_loss(X[0], Y), r"embeddings has shape \[3\], but \[B, D\]"),
        (lambda: pairs.circle_loss(X, Y[:3]), r"labels has shape \[3\], but \[16\]"),
        (lambda: pairs.circle_loss(X, Y.astype(float)), "labels have dtype float32"),
        (lambda: pairs.circle_loss(X, Y, mask=MASK[:2]), r"mask has shape \[2\]"),
        (lambda: pairs.circle_loss(X, Y, scale=0.0), "scale is 0.0"),
        (lambda: pairs.ranked_list_loss(X, Y, negative_weight=1.5), "negative_weight is 1.5"),
        (lambda: pairs.multi_similarity_loss(X, Y, threshold=2.0), "threshold is 2.0"),
        (lambda: pairs.lifted_structure_loss(X, Y, axis_name="nowhere"), "axis_name is 'nowhere'"),
        (lambda: pairs.contrastive_loss(X, X[:, :2], Y > 0), "second has shape"),
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
