"""Layers that choose between formulas: a maximum of two pre-activations, one of two matrices by the sign of a third."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import Network, Regime, Weights, derive, dropout, epsilon, mixed, relu, symbols
from derivations.errors import DerivationError
from derivations.gaussian import expect
from derivations.gaussian.single import choice_elsewhere
from derivations.kernels import ntk
from derivations.language import parse_layer
from numerics.compile import compile_expression
from numerics.compile.joint_means import joint_gaussian_mean
from tests.random_layers import limit_at

STATE = np.array([0.7, -1.1, 0.4])


def _noise(text: str, put_out, samples: int = 40_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The derived covariance of the noise at a state, that of drawn matrices without ε, and its standard errors."""
    _, derived = limit_at(Network(parse_layer(text), width=3), STATE[:, None])
    rng = np.random.default_rng(5)

    def drawn(body: np.ndarray) -> np.ndarray:
        matrix = rng.normal(size=(samples, 3, 3)) / np.sqrt(3)
        return np.einsum("soi,si->so", matrix, np.broadcast_to(body, (samples, 3)))

    moved = put_out(drawn)
    products = np.einsum("si,sj->sij", moved, moved)
    return derived, products.mean(axis=0), products.std(axis=0) / np.sqrt(samples)


LAYERS = {
    "x + eps*C(max(A(x), B(x)))": lambda drawn: drawn(np.maximum(drawn(STATE), drawn(STATE))),
    "x + eps*A(where(B(x) > 0, C(x), tanh(C(x))))": lambda drawn: drawn(
        (lambda b, c: np.where(b > 0, c, np.tanh(c)))(drawn(STATE), drawn(STATE))
    ),
    "where(x > average(x**2), x + eps*A(x), x + 2*eps*B(x))": lambda drawn: np.where(
        np.mean(STATE**2) < STATE, drawn(STATE), 2 * drawn(STATE)
    ),
    "x + eps*A((0 < B(x) < 1)*x)": lambda drawn: drawn((lambda b: ((b > 0) & (b < 1)) * STATE)(drawn(STATE))),
}


@pytest.mark.parametrize("text", LAYERS)
def test_the_noise_is_that_of_drawn_matrices(text):
    derived, met, error = _noise(text, LAYERS[text])
    assert (abs(met - derived) < 4.5 * error).all()
    assert (abs(met - 1.2 * derived) > 4.5 * error).any()


def test_the_larger_of_two_of_which_one_chooses_already():
    a, b = np.random.default_rng(7).normal(size=(2, 400_000))
    for text, drawn in (
        ("max(relu(A(x)), B(x))", np.maximum(np.maximum(a, 0), b)),
        ("min(B(x), relu(A(x)))", np.minimum(np.maximum(a, 0), b)),
    ):
        limit = derive(Network(f"x + eps*C({text})", width=sp.oo, inputs=1)).limit
        value, squares = float(limit.drift[0].subs(limit.states[0], 1)), drawn**2
        assert abs(squares.mean() - value) < 4.5 * squares.std() / np.sqrt(len(squares))
        assert abs(squares.mean() - 1.1 * value) > 4.5 * squares.std() / np.sqrt(len(squares))


_PAIR = np.array([[0.7, 0.5], [-1.1, -0.6], [0.4, 0.9]])
_MEETING = {
    "max(A(x), B(x))": lambda a, b: np.maximum(a(0), b(0)),
    "where(B(x) > A(x), A(x), 2*B(x))": lambda a, b: np.where(b(0) > a(0), a(0), 2 * b(0)),
    "where(B(x) > 0, A(x), 0)": lambda a, b: np.where(b(0) > 0, a(0), 0),
    "abs(A(x) - B(relu(x)))": lambda a, b: abs(a(0) - b(1)),
    "silu(A(x) + B(x))": lambda a, b: (a(0) + b(0)) / (1 + np.exp(-a(0) - b(0))),
    "tanh(A(x) + A(relu(x)))": lambda a, b: np.tanh(a(0) + a(1)),
    "tanh(A(x)*B(x))": lambda a, b: np.tanh(a(0) * b(0)),
    "A(x)/(1 + exp(-B(x)*A(tanh(x))))": lambda a, b: a(0) / (1 + np.exp(-b(0) * a(2))),
    "exp(-(A(x) - B(x))**2)": lambda a, b: np.exp(-((a(0) - b(0)) ** 2)),
}


@pytest.mark.parametrize("text", _MEETING)
def test_what_matrices_put_out_may_meet_in_a_function(text):
    rng, samples = np.random.default_rng(8), 60_000
    reads = [_PAIR, np.maximum(_PAIR, 0), np.tanh(_PAIR)]
    first, second = (rng.normal(size=(samples, 3)) / np.sqrt(3) for _ in range(2))
    hidden = _MEETING[text](lambda k: first @ reads[k], lambda k: second @ reads[k])
    squares, products = hidden[:, 0] ** 2, hidden[:, 0] * hidden[:, 1]
    narrow = derive(Network(f"x + eps*C({text})", width=3, inputs=2)).limit
    of_states = compile_expression(narrow.states, [narrow.covariance[0, k] for k in (0, 1)])
    derived = [[float(value) for value in of_states(*_PAIR.ravel())]]
    # at infinite width the means of these functions' products are other numbers
    if all(word not in text for word in ("relu", "silu", "tanh(x)")):
        limit = derive(Network(f"x + eps*C({text})", width=sp.oo, inputs=2)).limit
        at = (_PAIR.T @ _PAIR / 3)[[0, 0, 1], [0, 1, 1]]
        derived.append([float(value) for value in compile_expression(limit.states, list(limit.drift[:2]))(*at)])
    for value, drawn in zip(np.transpose(derived), (squares, products), strict=True):
        error = drawn.std() / np.sqrt(samples)
        assert (abs(drawn.mean() - value) < 4.5 * error).all()
        assert (abs(drawn.mean() - 1.2 * value) > 4.5 * error).all()


@pytest.mark.parametrize("function", [relu, sp.tanh], ids=str)
def test_one_matrix_reads_positions_that_are_mixed(function):
    rng, rows = np.random.default_rng(3), [[1, 0, 0], [sp.S.Half, 1, 0], [-sp.S.Half, 2, 1]]
    gram = np.array([[1, 0.4, 0.2], [0.4, 1.2, -0.3], [0.2, -0.3, 0.8]])
    limit = derive(
        Network(lambda x: x + epsilon * Weights("A")(function(mixed(rows, x))), width=sp.oo, positions=3)
    ).limit
    x = sp.Symbol("x", real=True)
    drawn = rng.multivariate_normal(np.zeros(3), gram, size=400_000) @ np.array(rows, dtype=float).T
    moved = sp.lambdify(x, function(x), "numpy")(drawn)
    found = compile_expression(limit.states, list(limit.drift))(*gram[np.triu_indices(3)])
    for value, (a, b) in zip(found, zip(*np.triu_indices(3), strict=True), strict=True):
        products = moved[:, a] * moved[:, b]
        error = products.std() / np.sqrt(len(products))
        assert abs(products.mean() - float(value)) < 4.5 * error
        assert abs(products.mean() - 1.1 * float(value)) > 4.5 * error


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("relu(x + B(x))", lambda x, b: np.maximum(x + b, 0)),
        ("max(x, B(x))", np.maximum),
        ("where(x > B(x), x, 2*B(x))", lambda x, b: np.where(x > b, x, 2 * b)),
        ("tanh(x*B(x))", lambda x, b: np.tanh(x * b)),
    ],
)
def test_the_state_meets_what_a_matrix_puts_out(text, made):
    rng, gram = np.random.default_rng(4), np.array([[1, 0.5], [0.5, 1.5]])
    limit = derive(Network(f"x + eps*A({text})", width=sp.oo, inputs=2)).limit
    found = [float(value) for value in compile_expression(limit.states, list(limit.drift))(*gram[np.triu_indices(2)])]
    hidden = made(*(rng.multivariate_normal(np.zeros(2), gram, size=200_000) for _ in range(2)))
    for value, (a, b) in zip(found, ((0, 0), (0, 1), (1, 1)), strict=True):
        products = hidden[:, a] * hidden[:, b]
        error = products.std() / np.sqrt(len(products))
        assert abs(products.mean() - value) < 4.5 * error
        assert abs(products.mean() - 1.1 * value) > 4.5 * error


@pytest.mark.slow
def test_a_matrix_that_reads_what_may_be_off_meets_the_state_together_too():
    """Its variance, an average of squares of ReLUs, can be 0 at a fixed width, and cannot where the width grows."""
    rng, gram = np.random.default_rng(9), np.array([[1, 0.5], [0.5, 1.5]])
    net = Network("x + eps*A(relu(x + B(relu(x))))", width=symbols.width, inputs=2, regime=Regime(depth=1))
    limit = derive(net).limit
    value = float(compile_expression(limit.states, [limit.drift[1]])(*gram[np.triu_indices(2)])[0])
    x = rng.multivariate_normal(np.zeros(2), gram, size=400_000)
    read = np.maximum(x, 0)
    hidden = np.maximum(x + rng.multivariate_normal(np.zeros(2), read.T @ read / len(read), size=len(x)), 0)
    products = hidden[:, 0] * hidden[:, 1]
    error = 4.5 * products.std() / np.sqrt(len(products)) + 0.01 * value  # of the matrix's covariance, from as many
    assert abs(products.mean() - value) < error < abs(products.mean() - 1.1 * value)


@pytest.mark.slow
def test_the_tangent_kernel_of_a_sum_of_two_matrices_is_that_of_one_of_twice_the_variance():
    both, one = (
        ntk(Network(f"x + eps*A(sigmoid({inside}))", width=sp.oo, inputs=2))
        for inside in ("B(x) + C(x)", "B(x, variance=2)")
    )
    at = (1.0, 0.5, 1.5, 0.7, 0.2, 0.9)
    found, wanted = (compile_expression(flow.states, list(flow.drift))(*at) for flow in (both, one))
    assert np.allclose(found, wanted, rtol=1e-9)
    assert not np.allclose(compile_expression(both.states, list(both.drift))(*at[:-1], 1.0), wanted, rtol=1e-3)


def test_means_that_cancel_in_closed_form_leave_the_noise():
    pair = np.array([[1.0, 0.5], [0.5, 1.5]])
    drawn = np.random.default_rng(6).multivariate_normal(np.zeros(2), pair, size=(2, 200_000))
    limit = derive(Network("x + eps*relu(A(x)) - eps*abs(B(x))/2", width=sp.oo, inputs=2)).limit
    found = compile_expression(limit.states, list(limit.drift))(*pair[np.triu_indices(2)])
    steps = np.maximum(drawn[0], 0) - abs(drawn[1]) / 2
    for value, (a, b) in zip(found, ((0, 0), (0, 1), (1, 1)), strict=True):
        products = steps[:, a] * steps[:, b]
        error = products.std() / np.sqrt(len(products))
        assert abs(products.mean() - float(value)) < 4.5 * error
        assert abs(products.mean() - 1.1 * float(value)) > 4.5 * error
    with pytest.raises(DerivationError, match=r"step is ε·\(-sqrt\(2\)\*sqrt\(<x\*\*2>\)/\(2\*sqrt\(pi\)\)\) \+ …"):
        derive(Network("x + eps*relu(A(x)) - eps*abs(B(x))", width=sp.oo))


def test_what_is_nothing_on_each_piece_is_nothing():
    for text in ("abs(x)*sign(x) + eps*A(x)", "relu(x) - relu(-x) + eps*A(x)"):
        assert derive(Network(text, width=sp.oo)).limit == derive(Network("x + eps*A(x)", width=sp.oo)).limit
    for text in ("abs(x + eps*A(x))*sign(x)", "abs(x + eps*A(x)) - abs(x) + x", "abs(x)*sign(x + eps*A(x))"):
        with pytest.raises(DerivationError, match="a kink moves with ε"):
            derive(Network(text, width=3))
    with pytest.raises(DerivationError, match=r"the increment at ε = 0 is -x \+ Abs\(x\), not 0"):
        derive(Network("abs(x) + eps*A(x)", width=3))


def test_a_choice_by_what_another_mean_is_over_is_left_to_that_mean():
    x, z = sp.symbols("x z", real=True)
    inner = expect(sp.Piecewise((x, sp.tanh(z) + z > 1), (sp.tanh(z), True)), z)
    assert choice_elsewhere(inner, x) is None
    assert choice_elsewhere(sp.Piecewise((x, z > 0), (0, True)), x) is not None


def test_the_largest_of_three_has_a_value():
    (mean,) = derive(Network("x + eps*C(max(A(x), B(x), D(x)))", width=sp.oo)).limit.drift
    (state,) = mean.free_symbols
    found, error = joint_gaussian_mean(mean.subs(state, 2))
    assert abs(found - (2 + np.sqrt(3) / np.pi)) < error < 1e-3


def test_a_probability_that_depends_on_the_depth_is_refused_for_the_jumps_that_it_makes():
    with pytest.raises(DerivationError, match=r"must not depend on the depth, .* makes jumps in the limit"):
        dropout(sp.Symbol("x"), 1 - epsilon**2)


def test_two_inputs_choose_each_by_its_own_state():
    text, state = "where(x > average(x**2), x + eps*A(x), x + 2*eps*B(x))", np.array([[0.7, -0.5], [-1.1, 0.9]])
    _, derived = limit_at(Network(text, width=2, inputs=2), state)
    gram, first = state.T @ state / 2, state > np.mean(state**2, axis=0)
    for i, a in np.ndindex(2, 2):
        for k, b in np.ndindex(2, 2):
            same = first[i, a] == first[k, b] and i == k
            assert derived[2 * i + a, 2 * k + b] == pytest.approx(same * (1 if first[i, a] else 4) * gram[a, b])


def test_the_mean_of_a_choice_is_a_choice_of_means():
    x, z = sp.symbols("x z", real=True)
    choice = sp.Piecewise((z, x > 0), (sp.Max(z, 0) ** 2, True))
    assert expect(choice, z) == sp.Piecewise((0, x > 0), (sp.S.Half, True))
