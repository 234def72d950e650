"""Blocks with hidden neurons: the re-derived laws of their norms, and what places of norms and factors change."""

from __future__ import annotations

import pytest
import sympy as sp

from derivations import GatedBlock, MLPBlock, Network, Weights, derive, epsilon, gelu, gram_limit, relu, silu, tanh
from derivations.errors import DerivationError, NotClosed
from derivations.gaussian import expect
from derivations.symbols import width as n

V = sp.Symbol("V", positive=True)


@pytest.mark.parametrize("hidden", [1, 3, 4 * n])
def test_squared_norm_of_two_relu_matrices_is_geometric_brownian_motion(hidden):
    d = derive(MLPBlock(relu, width=n, hidden=hidden, weight_variance=sp.sqrt(3)))
    assert d.gram.drift[0] == 3 * V / 2  # σ² = 3, the product of both variances; E relu(Z)² = 1/2
    assert d.gram.covariance[0] == 6 * V**2 / n
    assert d.gram_law.name == "geometric Brownian motion"


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "norm"), [(relu, "rms"), (relu, "layer"), (gelu, "rms"), (tanh, "rms")])
def test_pre_norm_makes_the_squared_norm_a_squared_bessel_process(activation, norm):
    d = derive(MLPBlock(activation, width=n, norm=norm))
    g = expect(activation.expr**2, activation.variable)
    assert sp.expand(d.gram.drift[0] - g) == 0
    assert sp.cancel(d.gram.covariance[0] - 4 * g * V / n) == 0
    assert d.gram_law.name == "squared Bessel process"


@pytest.mark.slow
def test_a_mean_without_closed_form_is_a_number_of_the_law():
    d = derive(MLPBlock(tanh, width=3, norm="rms"))
    assert d.gram_law.name.startswith("Bessel process of dimension 3")
    assert abs(d.gram_law.diffusion.drift[0].evalf(12) - 0.394294490398) < 1e-12
    assert d.gram_law.prove()


def test_coefficients_without_closed_form_have_no_law_and_say_so_at_once():
    d = derive(GatedBlock(silu, width=3))
    assert d.gram is not None
    assert d.gram_law is None


def test_gates_explode_without_a_norm_and_not_with_one():
    K = derive(GatedBlock(relu, width=sp.oo)).limit.states[0]
    assert derive(GatedBlock(relu, width=sp.oo)).limit.drift[0] == K**2 / 2
    assert derive(GatedBlock(relu, width=sp.oo, norm="rms")).limit.drift[0] == sp.Rational(1, 2)


def test_dropped_neurons_and_branches_raise_the_diagonal():
    plain, dropped, branch = (
        derive(MLPBlock(relu, width=sp.oo, inputs=2, **options)).limit.drift
        for options in ({}, {"keep": 0.8}, {"keep_branch": 0.8})
    )
    assert dropped[0] == sp.Rational(5, 4) * plain[0]
    assert dropped[1] == plain[1]  # masks are drawn for each input
    assert branch[0] == sp.Rational(5, 4) * plain[0]


def test_post_norm_keeps_the_state_on_the_sphere():
    drift = derive(MLPBlock(relu, width=3, norm="rms", place="post")).limit.drift
    x = derive(MLPBlock(relu, width=3, norm="rms", place="post")).limit.states[0]
    assert drift[0] == -x / 6  # −(n − 1)/2n · g, g = E relu(Z)² = 1/2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"norm": "batch"}, "unknown norm 'batch'"),
        ({"place": "before"}, "unknown place 'before'"),
        ({"hidden": 0}, "positive whole number of neurons"),
        ({"keep": 0}, "above 0 and at most 1"),
        ({"keep_branch": 2}, "above 0 and at most 1"),
        ({"weight_variance": -1}, "weight_variance must be a finite number"),
    ],
)
def test_senseless_blocks_are_refused(options, said):
    with pytest.raises(DerivationError, match=said):
        MLPBlock(relu, width=3, **options)


@pytest.mark.slow
def test_gram_matrix_of_a_matrix_that_reads_unlike_neurons():
    r"""Hidden neurons are alike given V, so that only (1/k) Σ_jl Σ_jl E b_j b_l of the columns' covariance enters."""
    V = sp.Symbol("V", positive=True)
    half = sp.Rational(1, 2)
    for columns, mean in (
        (sp.diag(1, 3, 2), V),
        (sp.Matrix([[1, half, 0], [half, 1, 0], [0, 0, 1]]), V / 2 + V / (6 * sp.pi)),
    ):
        gram = derive(MLPBlock(relu, width=2, hidden=3, column_covariance=columns)).gram
        assert sp.expand(gram.drift[0] - mean) == 0
    A, B = Weights("A", column_covariance=sp.diag(2, 1, 3)), Weights("B", out=3, row_covariance=sp.diag(1, 2, 3))
    own = derive(Network(lambda x: x + epsilon * A(relu(B(x))), width=2))
    assert sp.expand(own.gram.drift[0] - sp.Rational(2 + 2 + 9, 3) * V / 2) == 0
    x1, x2 = own.limit.states
    assert sp.expand(own.limit.entry(0, 0) - sp.Rational(13, 12) * (x1**2 + x2**2)) == 0
    with pytest.raises(NotClosed, match="the rows of A have the covariance"):
        gram_limit(MLPBlock(relu, width=2, hidden=3, row_covariance=sp.diag(1, 2)).program())
