"""Norms of what a matrix puts out, at a finite number of neurons: layers drawn by hand in NumPy have the derived moments."""

import numpy as np
import pytest
import sympy as sp

from derivations import Network, Weights, average, derive, drop_branch, dropout, gelu, layer_norm, relu, rms_norm, tanh
from derivations.errors import NotClosed
from derivations.symbols import step as eps
from derivations.symbols import width as n
from tests.random_layers import limit_at

A, B, WIDE = Weights("A"), Weights("B"), Weights("B", out=5)
START = np.array([[0.7], [-1.2], [0.4]])
SAMPLES = 40_000


def drawn(rng, read, out=3):
    """A fresh matrix for each sample, applied to what it reads."""
    weights = rng.normal(size=(len(read), out, read.shape[1])) / np.sqrt(read.shape[1])
    return np.einsum("sij,sj->si", weights, read)


def mean_square(a):
    return np.mean(a**2, axis=1, keepdims=True)


def rms(a):
    return a / np.sqrt(mean_square(a))


def centred(a):
    return a - a.mean(axis=1, keepdims=True)


BRANCHES = {
    "behind the branch": (lambda x: rms_norm(A(tanh(x))), lambda g, x: rms(drawn(g, np.tanh(x)))),
    "layer norm": (lambda x: layer_norm(A(x)), lambda g, x: rms(centred(drawn(g, x)))),
    "behind two matrices": (lambda x: rms_norm(A(tanh(B(x)))), lambda g, x: rms(drawn(g, np.tanh(drawn(g, x))))),
    "dropped": (
        lambda x: dropout(rms_norm(A(x)), sp.Rational(1, 2)),
        lambda g, x: rms(drawn(g, x)) * (g.random(x.shape) < 0.5) * 2,
    ),
    "hidden": (lambda x: A(rms_norm(WIDE(x)) ** 2), lambda g, x: drawn(g, rms(drawn(g, x, 5)) ** 2)),
    "hidden layer norm": (lambda x: A(layer_norm(B(x)) ** 2), lambda g, x: drawn(g, rms(centred(drawn(g, x))) ** 2)),
    "a gate": (lambda x: rms_norm(A(x)) * B(x), lambda g, x: rms(drawn(g, x)) * drawn(g, x)),
    "a kink over a length": (
        lambda x: B(relu(A(x)) / sp.sqrt(average(A(x) ** 2))),
        lambda g, x: drawn(g, (lambda a: np.maximum(a, 0) / np.sqrt(mean_square(a)))(drawn(g, x))),
    ),
    "half a norm": (
        lambda x: A(x) / average(A(x) ** 2) ** sp.Rational(1, 4),
        lambda g, x: (lambda a: a / mean_square(a) ** 0.25)(drawn(g, x)),
    ),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_drawn_layers_have_the_derived_covariance(name):
    branch, by_hand = BRANCHES[name]
    _, covariance = limit_at(Network(lambda x: x + eps * branch(x), width=3), START)
    moves = by_hand(np.random.default_rng(7), np.repeat(START.T, SAMPLES, axis=0))
    products = (moves[:, :, None] * moves[:, None, :]).reshape(SAMPLES, -1)
    error = products.std(axis=0) / np.sqrt(SAMPLES)

    def distance(claimed):
        return np.max(np.abs(products.mean(axis=0) - claimed.ravel())[error > 0] / error[error > 0])

    assert distance(covariance) < 4.5  # 9 entries
    assert distance(1.1 * covariance) > 4.5
    assert np.allclose(products.mean(axis=0)[error == 0], covariance.ravel()[error == 0])


def test_a_norm_behind_the_branch_is_brownian_at_every_width():
    limit = derive(Network(lambda x: x + eps * rms_norm(A(gelu(B(rms_norm(x))))), width=n)).limit
    assert limit.neuron_covariance == sp.ones(1, 1)
    assert limit.neuron_drift == sp.zeros(1, 1)


def test_means_in_the_drift_are_those_of_the_sphere():
    """E u_i^4 = 3 n^2 / (n (n + 2)) for u uniform on the sphere of radius √n."""
    fourth, _ = limit_at(Network(lambda x: x + eps**2 * rms_norm(A(x)) ** 4, width=3), START)
    assert np.allclose(fourth, 9 / 5)


@pytest.mark.parametrize(
    ("branch", "says"),
    [
        (lambda x: rms_norm(A(relu(B(x)))), "0 with positive probability"),
        (lambda x: rms_norm(A(dropout(x, sp.Rational(1, 2)))), "0 with positive probability"),
        (lambda x: A(rms_norm(relu(B(x)))), r"divides by average.*B.*, which is 0 with positive probability"),
        (lambda x: A(relu(B(x))) / sp.sqrt(average(relu(B(x)) ** 2)), "0 with positive probability"),
        (lambda x: A(relu(x)) / average(relu(x)), "0 with positive probability"),
        (lambda x: A(layer_norm(relu(B(x)))), "0 with positive probability"),
        (lambda x: rms_norm(A(x) + B(x)), "fluctuates"),
        (lambda x: (A(x) + 1) / sp.sqrt(average(A(x) ** 2) - average(A(x)) ** 2) - x, "vanish|fluctuates"),
        (lambda x: A(x) / average(A(x) ** 2) ** 2, "fluctuates"),
        (lambda x: rms_norm(Weights("A", row_covariance=sp.diag(1, 2, 3))(x)), "fluctuates"),
        (
            lambda x: rms_norm(dropout(A(x), sp.Rational(1, 2)), eps=1),
            "since some of them are dropped, .* other than a whole power",
        ),
        (lambda x: A(tanh(average(dropout(x, sp.Rational(1, 2))))), "drop what is made of the average instead"),
        (lambda x: A(tanh(average(drop_branch(B(x), sp.Rational(1, 2))))), "over what a matrix puts out fluctuates"),
    ],
    ids=[
        "dead",
        "all dropped",
        "dead inside",
        "dead quotient",
        "dead state",
        "dead about the mean",
        "two matrices",
        "moved by a number",
        "no second moment",
        "rows that differ",
        "some dropped",
        "some of the state dropped",
        "dropped together",
    ],
)
def test_what_has_no_such_mean_is_refused(branch, says):
    with pytest.raises(NotClosed, match=says):
        derive(Network(lambda x: x + eps * branch(x), width=3))
