"""Means over softmax scores against scores drawn by hand, with errors that hold."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations.gaussian import softmax_mean
from numerics.compile import compile_expression
from numerics.compile.softmax_means import softmax_mean_value

SAMPLES = 40_000


def _kernel(p, rng):
    root = rng.standard_normal((p, p + 1)) / np.sqrt(p)
    return root @ root.T


def _forms(kernel, keys, mask, rng):
    """Forms of shares by weights drawn by hand."""
    p, root = len(kernel), np.linalg.cholesky(kernel)
    if np.isinf(keys):
        scores = root @ rng.standard_normal((SAMPLES, p, p)) @ root.T
    else:
        q, k = (root @ rng.standard_normal((SAMPLES, p, keys)) for _ in range(2))
        scores = q @ np.swapaxes(k, 1, 2) / np.sqrt(keys)
    shares = np.exp(scores) * mask
    shares /= shares.sum(axis=2, keepdims=True)
    return shares @ kernel @ np.swapaxes(shares, 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("p", "keys", "masked"),
    [(2, np.inf, False), (2, 1, False), (3, np.inf, True), (3, 2, False), (3, 9, True), (5, np.inf, False)],
)
def test_values_are_those_of_scores_drawn_by_hand(p, keys, masked):
    rng = np.random.default_rng(p + masked)
    kernel, mask = _kernel(p, rng), np.tril(np.ones((p, p))) if masked else np.ones((p, p))
    sample = _forms(kernel, keys, mask, rng)
    exact = sp.Matrix(kernel).applyfunc(lambda e: sp.Rational(float(e)))
    for a, b in ((p - 1, p - 1), (p - 1, p - 2)):
        node = softmax_mean(a, b, exact, exact, exact, sp.Matrix(mask.astype(int)), sp.oo if np.isinf(keys) else keys)
        value, error = softmax_mean_value(node)
        off = sample[:, a, b].mean() - value
        noise = sample[:, a, b].std() / np.sqrt(SAMPLES)
        assert abs(off) < 4.5 * noise + 2 * error
        assert error < 4e-3 * kernel.max()
        if a == b:  # scores that are larger by a half are distinguished
            wrong = softmax_mean(a, b, exact, sp.Rational(9, 4) * exact, exact, node.mask, node.neurons)
            assert abs(sample[:, a, b].mean() - softmax_mean_value(wrong).value) > 4.5 * noise + 2 * error


@pytest.mark.slow
@pytest.mark.parametrize(("p", "keys"), [(2, np.inf), (3, 4)])
def test_norms_behind_a_head_are_those_of_scores_drawn_by_hand(p, keys):
    rng = np.random.default_rng(p)
    kernel, mask = _kernel(p, rng), np.ones((p, p))
    forms = _forms(kernel, keys, mask, rng)
    sample = forms[:, 1, 0] / np.sqrt(forms[:, 0, 0] * forms[:, 1, 1])
    exact = sp.Matrix(kernel).applyfunc(lambda e: sp.Rational(float(e)))
    one, both, other = sp.symbols("a b c", positive=True)
    law = exact, exact, exact, sp.ones(p), sp.oo if np.isinf(keys) else keys
    shape = sp.Lambda((one, both, other), both / sp.sqrt(one) / sp.sqrt(other))
    node = softmax_mean(1, 0, *law, function=shape)
    value, error = softmax_mean_value(node)
    noise = sample.std() / np.sqrt(SAMPLES)
    assert abs(sample.mean() - value) < 4.5 * noise + 2 * error
    assert abs(sample.mean() - softmax_mean_value(softmax_mean(1, 0, *law)).value) > 4.5 * noise  # no norm
    lopsided = sp.Lambda((one, both, other), both / one)
    turned = softmax_mean(0, 1, *law, function=lopsided)  # the function follows its rows
    ratio = forms[:, 1, 0] / forms[:, 0, 0]
    assert abs(ratio.mean() - softmax_mean_value(turned).value) < 4.5 * ratio.std() / np.sqrt(SAMPLES) + 2 * error
    assert turned.rows == (1, 0)
    if p == 2:  # by mpmath, of the four scores' joint mean
        assert abs(value - 0.10764439) < 1e-8


def test_two_positions_to_all_digits_and_equal_tokens():
    s = sp.Symbol("s", positive=True)
    kernel = sp.Matrix([[1, s / 2], [s / 2, s]])
    node = softmax_mean(1, 0, kernel, kernel, kernel, sp.ones(2))
    value = compile_expression((s,), 1 + node**2)(np.array([0.7, 0.7]))
    assert value.shape == (2,)
    # by mpmath, of the four scores' joint mean
    assert abs(np.sqrt(value[0] - 1) - 0.61571020435752621305) < 1e-13
    same = softmax_mean(0, 1, sp.ones(3), sp.ones(3), sp.ones(3), sp.ones(3), 2)
    assert abs(softmax_mean_value(same).value - 1) < 1e-12  # shares sum to one


def test_large_scores_and_numbers_that_are_missing():
    big = 10**8 * sp.Matrix([[2, 1], [1, 2]])
    value, _ = softmax_mean_value(softmax_mean(0, 0, sp.eye(2), big, big, sp.ones(2)))
    assert abs(value - 1) < 1e-2  # one position has it all
    k = sp.Symbol("k", integer=True, positive=True)
    with pytest.raises(ValueError, match="substitute values"):
        softmax_mean_value(softmax_mean(0, 0, sp.eye(2), k * sp.eye(2), sp.eye(2), sp.ones(2)))
    with pytest.raises(ValueError, match="number of keys k must be a number"):
        compile_expression((k,), softmax_mean(0, 0, sp.eye(2), sp.eye(2), sp.eye(2), sp.ones(2), k))


def test_too_many_states_at_once_are_refused_before_they_are_waited_for():
    s = sp.Symbol("s", positive=True)
    kernel = sp.Matrix([[1, s / 2], [s / 2, s]])
    mean = compile_expression((s,), softmax_mean(1, 0, kernel, kernel, kernel, sp.ones(2)))
    with pytest.raises(ValueError, match="at 1001 states at once take too long"):
        mean(np.full(1001, 0.5))
