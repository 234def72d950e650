"""Jacobians over positions whose functions have long Gaussian means, against quadrature over what the filter puts out."""

from functools import cache
from itertools import product

import numpy as np
import pytest
import sympy as sp

from derivations import AttentionBlock, ConvBlock, gelu
from derivations.backward import jacobian
from derivations.backward.forms import renamed
from derivations.limits.depth import as_sums
from derivations.limits.elimination.averages import LayerAverage, layer_average
from derivations.limits.elimination.coefficients import Coefficients
from derivations.limits.elimination.held import HeldMean, HeldSum, names_in
from derivations.sums import written_out
from derivations.symbols import width as n

POSITIONS = 3


def gelu_slope(u):
    from scipy.special import ndtr

    return ndtr(u) + u * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)


def mean_of_slopes(x, v, w, a, b, nodes):
    r""":math:`\mathbb{E}\,\varphi'(U_a)\varphi'(U_b)U'_aU''_b` for what a filter of three taps on a ring makes of a state and two tangents."""
    places = [[(c + s) % POSITIONS for s in (-1, 0, 1)] for c in (a, b)]
    read = np.array([z[:, p].ravel() for z, p in ((x, places[0]), (x, places[1]), (v, places[0]), (w, places[1]))])
    root = np.linalg.svd(read / np.sqrt(read.shape[1]), full_matrices=False)
    z, weight = np.polynomial.hermite_e.hermegauss(nodes)
    grid = np.stack(np.meshgrid(*[z] * 4, indexing="ij")).reshape(4, -1)
    weights = np.prod(np.stack(np.meshgrid(*[weight / weight.sum()] * 4, indexing="ij")), axis=0).ravel()
    u, t, du, dt = root[0] * root[1] @ grid
    return float(weights @ (gelu_slope(u) * gelu_slope(t) * du * dt))


@pytest.mark.slow
def test_the_covariance_of_tangents_is_that_of_one_layer():
    layer = jacobian(ConvBlock(gelu, width=2, positions=POSITIONS)).layer
    rng = np.random.default_rng(5)
    x, v, w = rng.normal(size=(3, 2, POSITIONS)).round(2)
    rows = [[sp.Rational(str(e)) for e in (*x[i], *v[i], *w[i])] for i in range(2)]

    def derived(a, b):
        form = written_out(
            as_sums(layer.written_in({})(layer.covariance[a, b]), layer.moments.states, sp.Integer(2)), rows
        )
        return float(form.evalf(20))

    for a, b in ((0, 0), (1, 2)):
        both = [(x, v, w, (a + s) % POSITIONS, (b + s) % POSITIONS) for s in (-1, 0, 1)]
        fine, coarse = (np.mean([mean_of_slopes(*each, nodes) for each in both]) for nodes in (14, 10))
        assert (
            abs(derived(a, b) - fine) < 2 * abs(fine - coarse) + 1e-9
        )  # the slope is entire, so errors fall by a factor a node
        apart = np.mean([mean_of_slopes(np.zeros_like(x), v, w, *each[3:], 4) for each in both])
        assert abs(derived(a, b) - apart) > 1e-3  # without the state's part in the slopes


def test_names_hold_no_covariance_of_tangents():
    names = Coefficients()
    s, t, a, b = sp.symbols("s t a b", positive=True)
    named = names.of_means(sp.sqrt(s + 1) * (t + 2 * t**2) + s, {s: a, t: b})
    assert sp.degree(sp.expand(named), t) == 2
    assert s not in named.free_symbols
    whole = sp.sqrt(a + 1) * b + 2 * sp.sqrt(a + 1) * b**2 + a
    assert names.released(named.xreplace({t: b}), lambda e: e) == whole
    plain = s / (1 + t)  # a rational function is brought to lowest terms by others
    assert names.of_means(plain, {s: a, t: b}) == plain


@pytest.mark.slow
def test_positions_that_are_equal_have_a_covariance():
    # the determinant of what two positions put out vanishes there: a coefficient that is divided by it was not a number
    layer = jacobian(ConvBlock(gelu, width=2, positions=POSITIONS)).layer
    v, w = np.random.default_rng(6).normal(size=(2, 2, POSITIONS)).round(2)
    x = np.repeat([[0.5], [-1.25]], POSITIONS, axis=1)
    rows = [[sp.Rational(str(e)) for e in (*x[i], *v[i], *w[i])] for i in range(2)]
    form = written_out(as_sums(layer.written_in({})(layer.covariance[0, 1]), layer.moments.states, sp.Integer(2)), rows)
    both = [(x, v, w, s % POSITIONS, (1 + s) % POSITIONS) for s in (-1, 0, 1)]
    fine, coarse = (np.mean([mean_of_slopes(*each, nodes) for each in both]) for nodes in (14, 10))
    assert abs(float(form.evalf(20)) - fine) < 2 * abs(fine - coarse) + 1e-9


@pytest.mark.slow
def test_four_positions_are_derived_in_seconds():
    j = jacobian(ConvBlock(gelu, width=n, positions=4))
    rates = [j.layer.covariance[pair] for pair in product(range(4), repeat=2)]
    assert j.growth != 0
    assert max(len(sp.Add.make_args(rate)) for rate in rates) <= 16  # hundreds of terms when multiplied out, in minutes


@pytest.mark.slow
def test_gradients_of_a_filters_weights_are_means_over_what_it_puts_out():
    # B moves by a copy that reads the state, through φ' at both places of each tap of A: ⅓ Σ_f E φ'(u_a+f) φ'(u_b+f) G_a+f,b+f
    squares, x = jacobian(ConvBlock(gelu, width=n, positions=4)).weight_gradients["B"], sp.symbols("x^1:5", real=True)
    state = np.random.default_rng(7).normal(size=(3, 4)).round(2)
    met = state.T @ state / 3
    gram = sum(np.roll(met, (s, s), (0, 1)) for s in (-1, 0, 1)) / 3

    def derived(a, b):
        averages = {layer_average(u * v, x, 0): met[i, j] for i, u in enumerate(x) for j, v in enumerate(x)}
        return float(squares[a, b].xreplace(averages).evalf())

    def by_quadrature(a, b, correlation, nodes):
        z, weight = np.polynomial.hermite_e.hermegauss(nodes)
        weight = np.outer(weight, weight) / weight.sum() ** 2
        first = np.sqrt(gram[a, a]) * z[:, None]
        own = correlation * gram[a, b] / gram[a, a]
        second = own * first + np.sqrt(gram[b, b] - own**2 * gram[a, a]) * z
        return gram[a, b] * np.sum(weight * gelu_slope(first) * gelu_slope(second))

    def over_taps(a, b, correlation=1, nodes=40):
        return np.mean([by_quadrature((a + f) % 4, (b + f) % 4, correlation, nodes) for f in (-1, 0, 1)])

    for a, b in ((0, 1), (3, 2), (1, 3)):
        assert abs(derived(a, b) - over_taps(a, b)) < 2 * abs(over_taps(a, b, nodes=30) - over_taps(a, b)) + 1e-9
        assert (
            abs(derived(a, b) - over_taps(a, b, correlation=0)) > 1e-3
        )  # the control: slopes at two places as if independent


@pytest.mark.slow
def test_averages_that_become_equal_are_one_object():
    # ⟨x_1 x_2⟩ with its places changed was another object, and terms of both were not added up
    x, y = sp.symbols("x^2 x^10", real=True)
    one = layer_average(x * y, (x, y), 0)
    assert renamed(one, {x: y, y: x}) == one
    assert renamed(one, {y: x}) == layer_average(x**2, (x,), 0)
    layer = jacobian(AttentionBlock(width=4, kind="linear", positions=(4,), norm="rms")).layer
    for covariance in layer.covariance.values():
        averages = covariance.atoms(LayerAverage)
        assert len({str(node) for node in averages}) == len(averages)
    assert renamed(one, {y: sp.Symbol("x^3", real=True)}) != one  # the control


@pytest.mark.slow
def test_formulas_of_a_jacobian_are_made_when_they_are_read():
    j = jacobian(ConvBlock(gelu, width=3, positions=POSITIONS))
    assert j.inverse.letter == "K"
    assert j.sde.is_independent
    later, before = {"covariance", "squared", "transposed_covariance"}, set(j.layer.__dict__)
    assert not later & before
    assert j.sde.covariance.shape == j.inverse.covariance.shape == (POSITIONS, POSITIONS)
    assert j.inverse.drift.shape == (POSITIONS, 1)
    assert later <= set(j.layer.__dict__)  # the control


def test_names_in_shared_parts_are_found_once():
    inner = HeldMean.of("m", lambda: sp.Integer(3))
    deep, pair = inner, sp.Basic
    for _ in range(60):  # as a tree it has 2^60 leaves
        deep = pair(deep, deep)
    found, none = names_in(deep, HeldMean), names_in(deep, HeldSum)
    assert found == [inner]
    assert none == []


@pytest.mark.slow
def test_the_determinants_process_over_positions_is_that_of_all_neurons():
    # coefficients were multiplied out before averages were taken, in minutes
    found = jacobian(ConvBlock(gelu, width=4, positions=POSITIONS)).log_det
    process, layer = found.process, found.layer
    state = np.random.default_rng(8).normal(size=(4, POSITIONS)).round(2)
    gram = dict(zip(process.states, map(sp.Float, (state.T @ state / 4)[np.triu_indices(POSITIONS)]), strict=False))
    rows = [[sp.Rational(str(e)) for e in row] for row in state]

    @cache
    def written(expr):
        return written_out(as_sums(expr, layer.state, sp.Integer(4)), rows)

    def of_neurons(expr, i=0):
        return float(written(expr).xreplace(dict(zip(layer.state, rows[i], strict=True))).evalf(15))

    def by_gram(expr):
        return float(expr.xreplace(gram).evalf(15))

    moved = [np.mean([state[i, 0] * of_neurons(found.with_state[c], i) for i in range(4)]) for c in (0, 1)]
    swapped = np.mean([state[i, 1] * of_neurons(found.with_state[0], i) for i in range(4)])
    assert len(process.states) == 7
    assert np.isclose(by_gram(process.entry(6, 0)), 2 * moved[0], rtol=1e-8)  # with the mean square at the first place
    assert np.isclose(by_gram(process.entry(6, 1)), moved[1] + swapped, rtol=1e-8)
    assert not np.isclose(by_gram(process.entry(6, 1)), 2 * moved[1], rtol=1e-3)  # the control
    for ours, theirs in zip((process.drift[6], process.entry(6, 6)), found.averages, strict=True):
        assert np.isclose(by_gram(ours), of_neurons(theirs), rtol=1e-8)
