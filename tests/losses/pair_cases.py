"""What the tests of pair losses share: a batch, every loss, its loop in float64, all results.

Every loss is computed once, all in one compiled function, on one batch of 16 rows; the references
know nothing of masks or devices: they get the valid rows alone, and loop.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxcv.losses.pairs import contrastive, pairwise, proxies, triplets

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
    "contrastive": (pairwise.batch_contrastive_loss, ref_contrastive),
    "lifted": (pairwise.lifted_structure_loss, ref_lifted),
    "multi_similarity": (pairwise.multi_similarity_loss, ref_multi_similarity),
    "multi_similarity_all": (
        functools.partial(pairwise.multi_similarity_loss, mining_margin=None),
        functools.partial(ref_multi_similarity, mining=None),
    ),
    "circle": (functools.partial(pairwise.circle_loss, scale=16.0), ref_circle),
    "ranked_list": (pairwise.ranked_list_loss, ref_ranked_list),
    "ranked_list_weighted": (
        functools.partial(pairwise.ranked_list_loss, positive_temperature=5.0, negative_weight=0.3),
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


compiled = quick_jit(evaluate)


@functools.cache
def results():
    return jax.device_get(compiled(EMBEDDINGS, LABELS, MASK))
