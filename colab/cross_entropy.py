# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: -all
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Cross-entropy, checked
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxcv/jaxcv/blob/main/colab/cross_entropy.ipynb)
#
# What the loss of almost every classifier means, from entropy to the gradient of softmax, together with
# what is often said wrongly about it. Nothing here asks to be believed: every claim is an assertion on
# numbers, in the cell below it. The last section lists the errors.
#
# Natural logarithms throughout, hence *nats*; $\log_2$ where it says *bits* (1 nat = 1.4427 bits).

# %%
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules and not importlib.util.find_spec("jaxcv"):
    # Adds jaxcv and what it lacks; what the runtime has is listed, and stays as it is. Its jax belongs to
    # the libtpu or CUDA beside it, and a package exchanged under a running kernel crashes it.
    pip = [sys.executable, "-m", "pip"]
    with open("runtime.txt", "w") as runtime:
        subprocess.run([*pip, "list", "--format=freeze"], stdout=runtime, check=True)
    address = "git+https://github.com/jaxcv/jaxcv"
    subprocess.run([*pip, "install", "--quiet", "--constraint", "runtime.txt", address], check=True)

from jaxcv.notebook import prepare_notebook

prepare_notebook()

# %%
# %matplotlib inline
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from jaxcv.losses import (
    conditional_entropy,
    cross_entropy,
    entropy,
    joint_entropy,
    js_divergence,
    kl_divergence,
    masked_mean,
    mutual_information,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)

jax.config.update("jax_default_matmul_precision", "highest")  # TPUs would multiply in bfloat16
close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"
plt.rcParams.update(
    {
        "figure.dpi": 100,
        "figure.constrained_layout.use": True,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E6E6E6",
        "legend.frameon": False,
        "lines.linewidth": 2,
    }
)

# %% [markdown]
# ## 1. Entropy
#
# An event of probability $p$ surprises by $-\log p$: not at all if it was certain, more and more the
# less it was expected. The entropy of a distribution is its mean surprise,
#
# $$H(p) = -\sum_k p_k \log p_k .$$

# %%
p = np.array([0.5, 0.25, 0.25])
close(entropy(p, unit="bits"), 0.5 * 1 + 0.25 * 2 + 0.25 * 2)
close(entropy(p), 1.5 * np.log(2))

# Of all distributions over 10 outcomes the uniform one has the highest entropy, log 10.
uniform, certain = np.full(10, 0.1), np.eye(10)[3]
close(entropy(uniform), np.log(10))
close(entropy(certain), 0)

random = np.random.default_rng(0)
drawn = random.dirichlet(np.full(10, 0.5), 10_000)
entropies = np.asarray(entropy(drawn))
assert np.all((entropies >= 0) & (entropies <= np.log(10)))
print(f"10,000 random distributions: entropy {entropies.min():.3f} .. {entropies.max():.3f}")

# %% [markdown]
# $0 \log 0$ is 0, the limit of $p \log p$. A computer has to be told; written down plainly it is NaN.

# %%
with np.errstate(divide="ignore", invalid="ignore"):
    assert np.isnan(-np.sum(certain * np.log(certain)))
assert np.isfinite(entropy(certain))
assert np.all(np.isfinite(jax.grad(entropy)(jnp.asarray(certain))))

chances = np.linspace(0.001, 0.999, 400)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8))
left.plot(chances, -np.log2(chances), color=BLUE)
left.set(title="surprise of an event", xlabel="its probability", ylabel="bits", ylim=(0, 8))
right.plot(chances, entropy(np.stack([chances, 1 - chances], -1), unit="bits"), color=BLUE)
right.set(title="entropy of a coin", xlabel="probability of heads", ylabel="bits", ylim=(0, 1.05))
plt.show()

# %% [markdown]
# ## 2. Two variables
#
# A classifier sees 1,000 animals. $X$ is what it says, $Y$ is what the animal is. Divided by 1,000,
# the table of counts is a joint distribution $p(x, y)$, with
#
# $$H(X, Y) = -\sum_{x,y} p(x,y) \log p(x,y), \qquad
# H(Y \mid X) = \sum_x p(x)\, H(Y \mid X{=}x) .$$

# %%
animals = ["cat", "dog", "fox"]
counts = np.array([[420, 20, 10], [60, 300, 40], [40, 50, 60]])  # rows X (said), columns Y (true)
joint = counts / counts.sum()
p_x, p_y = joint.sum(axis=1), joint.sum(axis=0)

H_xy = float(joint_entropy(joint))
H_x, H_y = float(entropy(p_x)), float(entropy(p_y))
H_y_given_x = float(conditional_entropy(joint))  # Y is the last axis
H_x_given_y = float(conditional_entropy(joint.T))
information = float(mutual_information(joint))

# H(Y|X) weighs the entropy of each row by p(x). The plain mean of the rows is something else.
row_entropies = np.asarray(entropy(joint / p_x[:, None]))
close(H_y_given_x, np.sum(p_x * row_entropies))
assert abs(H_y_given_x - row_entropies.mean()) > 0.1

# The chain rule: what X leaves open is what both hold, less what X holds.
close(H_y_given_x, H_xy - H_x)
close(H_x_given_y, H_xy - H_y)
assert H_y_given_x != H_x_given_y

# %% [markdown]
# Mutual information is what the two have in common, what the one tells about the other:
#
# $$I(X; Y) = H(Y) - H(Y \mid X) = H(X) - H(X \mid Y) = H(X) + H(Y) - H(X, Y).$$

# %%
close(information, H_y - H_y_given_x)
close(information, H_x - H_x_given_y)
close(information, H_x + H_y - H_xy)
close(information, kl_divergence(joint.ravel(), np.outer(p_x, p_y).ravel()))

# Independent variables tell nothing about each other.
close(mutual_information(np.outer(p_x, p_y)), 0)

# Knowing X lowers the uncertainty about Y on average. A single answer may raise it: "fox" does.
assert H_y_given_x < H_y < row_entropies[2]

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.8), width_ratios=[1, 2.4])
left.imshow(counts, cmap="Blues", vmax=600)
for (x, y), count in np.ndenumerate(counts):
    left.text(y, x, count, ha="center", va="center", color="white" if count > 250 else "black")
left.set(xticks=range(3), yticks=range(3), xticklabels=animals, yticklabels=animals)
left.set(xlabel="Y: it is", ylabel="X: it says", title="1,000 animals")
left.grid(False)

bars = [
    [("H(X, Y)", H_xy, GREY)],
    [("H(X)", H_x, BLUE), ("H(Y | X)", H_y_given_x, ORANGE)],
    [("H(X | Y)", H_x_given_y, BLUE), ("H(Y)", H_y, ORANGE)],
    [
        ("H(X | Y)", H_x_given_y, BLUE),
        ("I(X; Y)", information, GREEN),
        ("H(Y | X)", H_y_given_x, ORANGE),
    ],
]
for row, parts in enumerate(bars):
    start = 0.0
    for name, width, color in parts:
        right.barh(-row, width, left=start, color=color, edgecolor="white", linewidth=2)
        text = f"{name} = {width:.2f}"
        right.text(
            start + width / 2, -row, text, ha="center", va="center", color="white", fontsize=9
        )
        start += width
right.set(yticks=[], xlabel="nats", title="every row has the same length")
right.spines["left"].set_visible(False)
plt.show()

# %% [markdown]
# ## 3. Cross-entropy
#
# Outcomes come from $p$, but are expected with $q$. The mean surprise is then
#
# $$H(p, q) = -\sum_k p_k \log q_k = H(p) + \mathrm{KL}(p, q), \qquad
# \mathrm{KL}(p, q) = \sum_k p_k \log \frac{p_k}{q_k} \ge 0 .$$
#
# The first part belongs to the data. The second is the price of being wrong, and it is 0 only for
# $q = p$: this is why to minimise cross-entropy is to learn $p$.

# %%
p, q = drawn[:5000], drawn[5000:]
close(cross_entropy(p, q), entropy(p) + kl_divergence(p, q), rtol=1e-3)
assert np.all(kl_divergence(p, q) > 0)
close(kl_divergence(p, p), np.zeros(5000))
close(cross_entropy(p, p), entropy(p))  # not 0: cross-entropy with oneself is entropy

# %% [markdown]
# **It has no upper bound.** $\log N$ bounds the *entropy* of $N$ outcomes, and it is the cross-entropy
# of a uniform guess. Whoever is sure and wrong pays without limit.

# %%
logits = np.zeros((4, 10), np.float32)
logits[:, 0] = [0, -5, -20, -1000]  # less and less for class 0, which is the true one
costs = np.asarray(softmax_cross_entropy(logits, np.zeros(4, np.int32)))
close(costs[0], np.log(10))
assert np.all(costs[1:] > np.log(10))
close(costs[3], 1000 + np.log(9))
print("cross-entropy:", *(f"{cost:.2f}" for cost in costs), f"   log 10 = {np.log(10):.2f}")

chances = np.geomspace(1e-4, 1, 400)
figure, ax = plt.subplots(figsize=(6, 2.8))
ax.plot(chances, -np.log(chances), color=BLUE)
ax.fill_between(chances, np.log(10), -np.log(chances), chances < 0.1, color=ORANGE, alpha=0.2, lw=0)
ax.axhline(np.log(10), color=GREY, linewidth=1, linestyle="--")
ax.text(
    0.98, np.log(10) + 0.2, "log 10, a uniform guess over 10 classes", ha="right", color="#555555"
)
ax.text(0.06, 5, "worse than guessing", color=ORANGE)
ax.set(xlabel="probability given to the true class", ylabel="cross-entropy", ylim=(0, 9))
plt.show()

# %% [markdown]
# **It is the loss over a data set.** The mean of $-\log q(\text{label})$ over examples is the
# cross-entropy between the frequencies of the labels and $q$. With one label per example, $H(p) = 0$:
# cross-entropy *is* the KL divergence, and its minimum is 0.

# %%
labels = np.array([0] * 7 + [1] * 2 + [2])
frequencies = np.bincount(labels) / len(labels)
guess = np.array([0.3, -0.2, 0.1])
softmax_guess = np.exp(guess) / np.exp(guess).sum()

per_example = softmax_cross_entropy(np.tile(guess, (10, 1)), labels)
close(per_example.mean(), cross_entropy(frequencies, softmax_guess))

best = softmax_cross_entropy(np.tile(np.log(frequencies), (10, 1)), labels).mean()
close(best, entropy(frequencies))  # the frequencies themselves are the best guess
assert best < per_example.mean()

one_hot = np.eye(3)[0]
close(cross_entropy(one_hot, softmax_guess), kl_divergence(one_hot, softmax_guess))

# %% [markdown]
# **KL is not symmetric**, hence no distance; nor is cross-entropy. Fit one bump $q$ to two bumps $p$:
# $\mathrm{KL}(p, q)$ makes $q$ cover all that $p$ does, $\mathrm{KL}(q, p)$ makes it keep to where $p$
# is. Classifiers are trained with the first. The Jensen-Shannon divergence is symmetric, and at most
# $\log 2$.

# %%
x = np.linspace(-6, 6, 121)
log_p = np.logaddexp(np.log(0.6) - (x + 2) ** 2 / 0.8, np.log(0.4) - (x - 2) ** 2 / 0.8)
means, widths = (a.ravel() for a in np.meshgrid(np.linspace(-3, 3, 61), np.linspace(0.4, 3, 53)))
log_q = -((x - means[:, None]) ** 2) / (2 * widths[:, None] ** 2)
log_p_tiled = np.broadcast_to(log_p, log_q.shape)

covering = int(np.argmin(kl_divergence(log_p_tiled, log_q, from_logits=True)))
keeping = int(np.argmin(kl_divergence(log_q, log_p_tiled, from_logits=True)))

density = np.exp(log_p) / np.exp(log_p).sum()
close(means[covering], np.sum(density * x), atol=0.06)  # the mean of p, to the nearest grid point
close(means[keeping], -2, atol=0.06)  # the larger bump

one, other = np.array([0.9, 0.1]), np.array([0.4, 0.6])
assert abs(kl_divergence(one, other) - kl_divergence(other, one)) > 0.1
assert abs(cross_entropy(one, other) - cross_entropy(other, one)) > 0.1
close(js_divergence(one, other), js_divergence(other, one))
close(js_divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0])), np.log(2))

figure, ax = plt.subplots(figsize=(7, 2.8))
ax.fill_between(x, density, color="#CCCCCC", label="p")
for place, color, name in [(covering, BLUE, "KL(p, q)"), (keeping, ORANGE, "KL(q, p)")]:
    fitted = np.exp(log_q[place])
    ax.plot(x, fitted / fitted.sum(), color=color, label=f"q with the least {name}")
ax.set(yticks=[], ylim=(0, None), xlabel="x")
ax.spines["left"].set_visible(False)
ax.legend()
plt.show()

# %% [markdown]
# ## 4. Softmax and its gradient
#
# A network gives logits $z$; softmax makes them a distribution, $p_c = e^{z_c} / \sum_k e^{z_k}$. For
# label $y$ the loss is $L = -\log p_y = \log \sum_k e^{z_k} - z_y$, and its gradient
#
# $$\frac{\partial L}{\partial z} = \mathrm{softmax}(z) - y ,$$
#
# with $y$ as a one-hot vector. `jaxcv` states this gradient instead of deriving it; here it is checked
# against the formula, and against differences of the loss computed in 64 bits without jaxcv.

# %%
z = np.array([1.0, -0.5, 2.0, 0.3])
y = np.array([0.0, 0.0, 0.0, 1.0])
softmax_z = np.exp(z) / np.exp(z).sum()
loss_gradient = jax.jit(jax.grad(softmax_cross_entropy))
gradient = np.asarray(loss_gradient(z.astype(np.float32), 3))


def loss_in_64_bits(z):
    """The textbook formula, in NumPy."""
    return np.log(np.exp(z).sum()) - z[3]


step = 1e-5
differences = [
    (loss_in_64_bits(z + e) - loss_in_64_bits(z - e)) / (2 * step) for e in step * np.eye(4)
]
close(gradient, softmax_z - y)
close(gradient, differences)
close(gradient.sum(), 0)

# %% [markdown]
# **The sign.** Descent subtracts the gradient. With $y - \mathrm{softmax}(z)$ taken for the gradient
# the loss would rise.

# %%
start = loss_in_64_bits(z)
assert (
    loss_in_64_bits(z - 0.1 * (softmax_z - y)) < start < loss_in_64_bits(z - 0.1 * (y - softmax_z))
)

# %% [markdown]
# **It is not the derivative of softmax.** That is a matrix, $J = \mathrm{diag}(p) - p p^\top$. The chain
# rule multiplies it by $\partial L / \partial p = -y / p$, and nearly everything cancels. Autodiff
# through `softmax` and then `log` computes this product; the closed form needs neither the matrix nor
# the division. The second derivative of the loss, in turn, is $J$, which is positive semidefinite: the
# loss is convex in the logits.

# %%
jacobian = np.asarray(jax.jit(jax.jacobian(jax.nn.softmax))(z.astype(np.float32)))
close(jacobian, np.diag(softmax_z) - np.outer(softmax_z, softmax_z))
close(jacobian.T @ (-y / softmax_z), softmax_z - y)
assert not np.allclose(softmax_z * (1 - softmax_z), gradient)  # its diagonal is no gradient either

hessian = np.asarray(jax.jit(jax.hessian(softmax_cross_entropy))(z.astype(np.float32), 3))
close(hessian, jacobian)
assert np.linalg.eigvalsh(hessian).min() > -1e-6

figure, axes = plt.subplots(1, 3, figsize=(9, 2.4), sharey=True)
titles = ["softmax(z)", "y", "gradient: softmax(z) - y"]
for ax, values, title in zip(axes, [softmax_z, y, gradient], titles):
    ax.bar(range(4), values, color=[BLUE, BLUE, BLUE, ORANGE])
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(title=title, xticks=range(4), xlabel="class")
    ax.grid(visible=False, axis="x")
plt.show()

# %% [markdown]
# **Batches, temperatures, soft labels.** The gradient of a *mean* over $B$ examples is
# $(\mathrm{softmax}(z) - y) / B$; of logits divided by $T$, $(\mathrm{softmax}(z / T) - y) / T$. For a
# label that is a distribution $q$ it is $\mathrm{softmax}(z) - q$; if $q$ sums to $s$ instead of 1,
# $s\, \mathrm{softmax}(z) - q$.

# %%
batch, batch_labels = random.normal(size=(8, 4)).astype(np.float32), np.arange(8) % 4
batch_softmax = np.exp(batch) / np.exp(batch).sum(-1, keepdims=True)
batch_gradient = jax.jit(jax.grad(lambda z: softmax_cross_entropy(z, batch_labels).mean()))(batch)
close(batch_gradient, (batch_softmax - np.eye(4)[batch_labels]) / 8)

at_temperature_2 = jax.jit(jax.grad(lambda z: softmax_cross_entropy(z, 3, temperature=2.0)))
close(at_temperature_2(z.astype(np.float32)), (np.exp(z / 2) / np.exp(z / 2).sum() - y) / 2)

for soft in (np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.0, 1.0, 0.0, 1.0])):
    close(loss_gradient(z.astype(np.float32), soft), soft.sum() * softmax_z - soft)

# %% [markdown]
# **Why not the squared error?** Behind a softmax its gradient vanishes where it is needed most, at a
# wrong answer given with confidence: there $J$ is almost 0. Cross-entropy divides by $p$, and so it
# pulls with full strength.

# %%
margins = jnp.linspace(-12, 12, 241)  # logit of the true class, less that of the other


def cross_entropy_at(margin):
    """Softmax cross-entropy of two classes."""
    return softmax_cross_entropy(jnp.stack([margin, 0.0 * margin]), 0)


def squared_error_at(margin):
    """Squared error of the softmax of two classes, halved."""
    p = jax.nn.softmax(jnp.stack([margin, 0.0 * margin]))
    return 0.5 * jnp.sum((p - jnp.array([1.0, 0.0])) ** 2)


pulls = [jax.jit(jax.vmap(jax.grad(f)))(margins) for f in (cross_entropy_at, squared_error_at)]
assert pulls[0][0] < -0.99  # margin -12: surely wrong
assert -1e-4 < pulls[1][0] <= 0

figure, ax = plt.subplots(figsize=(6.5, 2.8))
for pull, color, name in zip(pulls, [BLUE, ORANGE], ["cross-entropy", "squared error"]):
    ax.plot(margins, -pull, color=color, label=name)
ax.set(xlabel="margin of the true class (left: wrong, right: right)", ylabel="pull on the margin")
ax.legend()
plt.show()

# %% [markdown]
# ## 5. Label smoothing
#
# The label keeps $1 - a$, and $a$ is spread over all $K$ classes: $q = (1 - a)\, y + a / K$. Only the
# target changes, so the gradient is $\mathrm{softmax}(z) - q$. The best network is no longer certain:
# the minimum of the loss is $H(q)$, not 0, at a margin of
# $\log \frac{1 - a + a / K}{a / K}$. Do not compare losses of different smoothing.

# %%
a, K = 0.1, 10
target = (1 - a) * np.eye(K)[0] + a / K
at_best = jnp.asarray(np.log(target), jnp.float32)

smoothed = functools.partial(softmax_cross_entropy, label_smoothing=a)
value, gradient = jax.jit(jax.value_and_grad(smoothed))(at_best, 0)
close(value, entropy(target))
close(gradient, np.zeros(K))
close(at_best[0] - at_best[1], np.log((1 - a + a / K) / (a / K)))
nearby = at_best + jnp.asarray(random.normal(size=(100, K)), jnp.float32)
assert np.all(smoothed(nearby, np.zeros(100, np.int32)) > entropy(target))

# Some spread a over the K - 1 other classes only. It is the same family: a (K - 1) / K there is a here.
shared = softmax_cross_entropy(
    nearby,
    np.zeros(100, np.int32),
    label_smoothing=a * (K - 1) / K,
    smoothing="other_classes",
)
close(shared, smoothed(nearby, np.zeros(100, np.int32)))

margins = np.linspace(-2, 14, 161, dtype=np.float32)
two_heights = np.zeros((161, K), np.float32)
two_heights[:, 0] = margins
figure, ax = plt.subplots(figsize=(6.5, 2.8))
for amount, color in [(0.0, GREY), (0.05, BLUE), (0.1, ORANGE)]:
    values = softmax_cross_entropy(two_heights, np.zeros(161, np.int32), label_smoothing=amount)
    ax.plot(margins, values, color=color, label=f"a = {amount:g}")
    if amount:
        share = amount / K
        lowest = np.log((1 - amount + share) / share)
        ax.plot(lowest, entropy((1 - amount) * np.eye(K)[0] + share), "o", color=color)
ax.set(xlabel="margin of the true class over the 9 others", ylabel="loss", ylim=(0, None))
ax.legend()
plt.show()

# %% [markdown]
# ## 6. Yes or no
#
# One logit, $s = 1 / (1 + e^{-z})$, label 0 or 1:
#
# $$L = -\bigl[\, y \log s + (1 - y) \log (1 - s) \,\bigr], \qquad
# \frac{\partial L}{\partial z} = s - y .$$
#
# **The bracket encloses both terms.** Without it the loss of every negative example has the wrong sign:
# it falls the surer the network is of the wrong answer.

# %%
z = np.linspace(-6, 6, 121).astype(np.float32)
s = 1 / (1 + np.exp(-z))
binary_gradient = jax.jit(jax.vmap(jax.grad(sigmoid_cross_entropy)))
for y in (0, 1):
    right = -(y * np.log(s) + (1 - y) * np.log(1 - s))
    found = sigmoid_cross_entropy(z, np.full(121, y))
    close(found, right, rtol=1e-3)
    close(binary_gradient(z, np.full(121, y)), s - y)
    # It is softmax with two classes, one of which has the logit 0.
    close(found, softmax_cross_entropy(np.stack([0 * z, z], -1), np.full(121, y)))

y = 0
without_bracket = -y * np.log(s) + (1 - y) * np.log(1 - s)
close(without_bracket, -np.asarray(sigmoid_cross_entropy(z, np.zeros(121))), rtol=1e-3)
assert np.all(without_bracket < 0)
assert np.all(np.diff(without_bracket) < 0)

figure, ax = plt.subplots(figsize=(6, 2.8))
ax.plot(z, sigmoid_cross_entropy(z, np.zeros(121)), color=BLUE, label="with the bracket")
ax.plot(z, without_bracket, color=ORANGE, label="without: rewards the wrong answer")
ax.axhline(0, color="black", linewidth=0.8)
ax.set(xlabel="logit z (label 0)", ylabel="loss")
ax.legend()
plt.show()

# %% [markdown]
# ## 7. In floating point
#
# The formula of the textbook overflows. In float32, $e^{89}$ is infinite, and a logit of 100 gives NaN.
# Subtracting the largest logit first changes nothing, as softmax is blind to a shift, and keeps every
# exponential at most 1.

# %%
z = jnp.array([0.0, 100.0, -50.0])


def textbook_loss(z, label):
    """-log(exp(z_label) / sum(exp(z))), as it is written."""
    return -jnp.log(jnp.exp(z[label]) / jnp.sum(jnp.exp(z)))


assert jnp.isinf(jnp.exp(89.0))
assert jnp.isnan(textbook_loss(z, 1))
close(softmax_cross_entropy(z, 0), 100)
close(softmax_cross_entropy(z, 1), 0)
close(softmax_cross_entropy(z + 1000, 0), softmax_cross_entropy(z, 0))

extreme = jnp.array([1e4, -1e4, 0.0])
for label in range(3):
    assert jnp.isfinite(softmax_cross_entropy(extreme, label))
    close(loss_gradient(extreme, label), np.eye(3)[0] - np.eye(3)[label])

# %% [markdown]
# **A stable softmax followed by a log is not enough**: a small probability has become 0 by then. To
# clip it at $10^{-7}$ hides the infinity, caps the loss at 16.1, and makes the gradient exactly 0, so
# that the worst mistakes are never mended. Stay with the logits; half-precision logits go up to
# float32 inside.


# %%
def loss_of_clipped(z, label):
    """Cross-entropy of probabilities kept above 1e-7."""
    return -jnp.log(jnp.clip(jax.nn.softmax(z), 1e-7, 1.0))[label]


assert jnp.isinf(-jnp.log(jax.nn.softmax(z)[0]))
value, gradient = jax.jit(jax.value_and_grad(loss_of_clipped))(z, 0)
close(value, -np.log(1e-7))
assert not np.any(gradient)
close(loss_gradient(z, 0), [-1, 1, 0])
assert softmax_cross_entropy(z.astype(jnp.bfloat16), 0).dtype == jnp.float32

# %% [markdown]
# ## 8. The mean
#
# The last batch of an epoch is short, and is filled up with padding to keep its shape. **The mean
# divides by the examples that count**, not by the rows. And padding must not be multiplied away: 0
# times NaN is NaN.

# %%
rows = np.array(
    [0.2, 1.0, 3.0, np.nan, np.nan, np.nan], np.float32
)  # three examples, three paddings
mask = np.array([True, True, True, False, False, False])

close(masked_mean(rows, mask), (0.2 + 1.0 + 3.0) / 3)
assert np.isnan(np.sum(rows * mask) / mask.sum())  # 0 * NaN
close(np.where(mask, rows, 0).mean(), masked_mean(rows, mask) / 2)  # 6 rows instead of 3 examples
close(jax.jit(jax.grad(masked_mean))(rows, mask), mask / 3)

# A label to be ignored has loss 0 and gradient 0; it must leave the divisor as well.
labels = np.array([2, -1, 0])
costs = softmax_cross_entropy(np.zeros((3, 4), np.float32), labels, ignore_label=-1)
close(costs, [np.log(4), 0, np.log(4)])
close(masked_mean(costs, labels != -1), np.log(4))

# %% [markdown]
# **Over devices the mean of means is not the mean**, unless all have equally many examples. Here four
# devices share 25 examples, the last device has one, and it is a hard one. Add numerators and
# denominators over the devices, then divide: this is what the training step does. (`jax.vmap` with an
# axis name stands in for four devices on any machine.)

# %%
device_losses = random.uniform(0.1, 0.5, (4, 8)).astype(np.float32)
device_losses[3, 0] = 6.0
device_masks = np.ones((4, 8), bool)
device_masks[3, 1:] = False


def mean_of_means(values, mask):
    """Each device divides by its own count: wrong for uneven shares."""
    return jax.lax.pmean(masked_mean(values, mask), "devices")


def global_mean(values, mask):
    """Sums go over the devices before the division."""
    total = jax.lax.psum(jnp.sum(jnp.where(mask, values, 0.0)), "devices")
    return total / jax.lax.psum(jnp.sum(mask), "devices")


wrong, right = (
    jax.jit(jax.vmap(f, axis_name="devices"))(device_losses, device_masks)[0]
    for f in (mean_of_means, global_mean)
)
close(right, device_losses[device_masks].mean())
assert wrong > 2 * right
print(f"mean over 25 examples {right:.3f}, mean of four means {wrong:.3f}")

# %% [markdown]
# ## 9. Accuracy is another question
#
# Accuracy asks which class came first, cross-entropy how much was staked on it. **Both may rise
# together**: three answers tip over to the right side, while a fourth becomes wrong with confidence.
# It is what a network does that overfits.

# %%
before = np.array([0.45, 0.45, 0.45, 0.90])  # probability of the true one of two classes
after = np.array([0.55, 0.55, 0.55, 0.01])
accuracies = [np.mean(chance > 0.5) for chance in (before, after)]
losses = [np.mean(-np.log(chance)) for chance in (before, after)]
assert accuracies[0] < accuracies[1]
assert losses[0] < losses[1]
print(
    f"accuracy {accuracies[0]:.0%} -> {accuracies[1]:.0%}, loss {losses[0]:.2f} -> {losses[1]:.2f}"
)

# %% [markdown]
# Multiply all logits by one number: the order of the classes stays, and so does accuracy, but the loss
# does not. It is least where the probabilities are true, and there it is
# $H(Y \mid X)$ of section 2: what the image leaves open about the label. No network gets below.

# %%
true_logits = 2 * random.normal(size=(2000, 10)).astype(np.float32)  # of 2,000 images
true_chances = np.asarray(jax.nn.softmax(true_logits))
scales = np.geomspace(0.25, 4, 33).astype(np.float32)  # the one in the middle is 1

scaled = scales[:, None, None] * true_logits
log_q = np.asarray(jax.nn.log_softmax(scaled))
expected_loss = -(true_chances * log_q).sum(-1).mean(-1)
expected_accuracy = [
    np.take_along_axis(true_chances, q.argmax(-1)[:, None], -1).mean() for q in log_q
]

assert np.argmin(expected_loss) == 16
close(expected_loss[16], np.mean(entropy(true_chances)))
close(expected_accuracy, np.full(33, expected_accuracy[16]))

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8))
left.plot(scales, expected_loss, color=BLUE)
left.axhline(expected_loss[16], color=GREY, linewidth=1, linestyle="--")
left.text(4, expected_loss[16] - 0.02, "H(Y | X)", ha="right", va="top", color="#555555")
left.set(title="cross-entropy", ylim=(expected_loss[16] - 0.15, None))
right.plot(scales, expected_accuracy, color=ORANGE)
right.set(title="accuracy", ylim=(0, 1))
right.yaxis.set_major_formatter("{x:.0%}")
for ax in (left, right):
    ax.set_xscale("log", base=2)
    ax.set_xticks([0.25, 0.5, 1, 2, 4], ["1/4\ntoo timid", "1/2", "1\ntrue", "2", "4\ntoo sure"])
    ax.set_xlabel("logits multiplied by")
plt.show()

# %% [markdown]
# ## The errors, in one table
#
# | Often said | What holds | Section |
# | --- | --- | --- |
# | $H(Y \mid X)$ is the mean of the rows' entropies | each row weighs $p(x)$; it is $H(X, Y) - H(X)$ | 2 |
# | knowing $X$ lowers the uncertainty about $Y$ | on average; one value of $X$ may raise it | 2 |
# | cross-entropy is at most $\log N$ | that is entropy; cross-entropy has no upper bound | 3 |
# | the least cross-entropy is 0 | it is $H(p)$: 0 for one-hot labels, $H(q)$ with smoothing | 3, 5 |
# | KL is a distance | $\mathrm{KL}(p, q) \ne \mathrm{KL}(q, p)$ | 3 |
# | the gradient to the logits is $y - \mathrm{softmax}(z)$ | $\mathrm{softmax}(z) - y$ | 4 |
# | the gradient is $\mathrm{softmax}'(z)$ | that is a matrix; the chain rule cancels it | 4 |
# | $-y \log s + (1 - y) \log (1 - s)$ | $-[\, y \log s + (1 - y) \log (1 - s) \,]$ | 6 |
# | clipping probabilities makes the loss safe | it stops learning where the loss is highest | 7 |
# | divide by the batch size | by the examples that count, over all devices | 8 |
# | higher accuracy, lower loss | both may rise | 9 |
