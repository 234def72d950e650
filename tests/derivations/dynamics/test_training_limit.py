"""What is derived of training at infinite width: adjoints, learning rates, closure, refusals and the pages."""

import pytest
import sympy as sp

from derivations import (
    MLP,
    DerivationError,
    Network,
    ResNet,
    ShapedMLP,
    Weights,
    average,
    dropout,
    epsilon,
    gelu_tanh,
    relu,
    rms_norm,
    symbols,
    tanh,
    training_limit,
)
from derivations.symbols import state

n = symbols.width
W = Weights("W")


BIAS = sp.Symbol("b", positive=True)


def network(layer, **options):
    return Network(layer, width=sp.oo, **options)


def test_the_adjoint_of_a_norm_and_two_matrices():
    found = training_limit(network(lambda x: x + epsilon * Weights("A")(relu(Weights("B", out=2 * n)(rms_norm(x))))))
    adjoint = found.adjoint
    (mean,) = (s for s in adjoint.statements if s not in adjoint.matrices)
    b, a = adjoint.matrices
    s, g, w, c = mean.symbol, adjoint.new, adjoint.passed[b], adjoint.passed[mean]
    assert sp.expand(adjoint.formula(state) - (g + w / sp.sqrt(s) + 2 * c * state)) == 0
    assert adjoint.formula(a.symbol) == g * symbols.step
    (part,) = adjoint.parts(s)
    assert sp.simplify(part.formula + w * state / (2 * s ** sp.Rational(3, 2))) == 0
    assert not found.is_linear


@pytest.mark.parametrize(
    ("layer", "power", "linear"),
    [
        (lambda x: x + epsilon * W(x), 0, True),
        (lambda x: W(x), 0, True),
        (lambda x: x / 2 + epsilon * Weights("A")(W(3 * x)), 0, True),
        (lambda x: x + epsilon**2 * W(tanh(x)), 1, False),
        (lambda x: x + epsilon**2 * W(x), 1, True),
        (lambda x: x + epsilon * W(x) * average(x**2), 0, False),
        (lambda x: tanh(x + epsilon * W(gelu_tanh(x))), 0, False),
    ],
)
def test_rates_of_the_depth_and_closure(layer, power, linear):
    found = training_limit(network(layer))
    assert set(found.rates.values()) == {power}
    assert found.is_linear == linear
    assert any(step.name == "Closure" and step.is_result == linear for step in found.steps)


def test_equations_of_a_linear_block_in_every_format():
    found = training_limit(network(lambda x: x + epsilon * W(x)))
    text = str(found)
    for line in ("d_Wμ^k = p_μ^k/sqrt(L)", "g_μ^k = p_μ^k + w_Wμ^k", "E[z zᵀ] = P Σ Pᵀ", "f_μ^k = E[v^k*x_Lμ^k]/γ_0"):
        assert line in text
    assert r"^{k}^" not in found.latex()  # a double index does not compile


def test_equations_in_the_time_of_the_layers():
    """Of which the matrix equations that the solution satisfies are Euler steps."""
    found = training_limit(network(lambda x: x + epsilon * Weights("W", variance=2)(3 * x) / 2)).steps[-1]
    text = str(training_limit(network(lambda x: x + epsilon * Weights("W", variance=2)(3 * x) / 2)))
    assert len(found.lines) == 8
    for line in (
        "dx_μ^k = dχ_μ^k/2",
        "-dg_μ^k = 3*dξ_μ^k/2",
        "Φ_μν^kr = 9*E[x_μ^k*x_ν^r]",
        "d[χ_μ^k, χ_ν^r]_s = 2*Φ_μν^kr ds",
    ):
        assert line in text
    text = str(training_limit(network(lambda x: x + epsilon**2 * W(x))))  # no noise
    assert "dx_μ^k = η*γ_0*(Sum_r Sum_ν Δ_ν^r*Φ_μν^kr*g_ν^r) ds" in text
    for layer in (lambda x: x + epsilon * W(tanh(x)), lambda x: x / 2 + epsilon * W(x)):
        assert training_limit(network(layer)).steps[-1].lines == ()


def test_biases_are_said():
    net = network(lambda x: x + epsilon * Weights("W", bias_variance=2)(tanh(x)))
    text = " ".join(str(training_limit(net)).split())
    for line in (
        "learning rate of the biases of W = η*γ_0**2*n",
        "u_Wμ^k = h_W^k + χ_Wμ^k",
        "h_W^1 ~ N(0, 2)",
        "h_W^{k+1} = h_W^k + 2*η*γ_0*(Sum_ν Δ_ν^k*d_Wν^k)",
    ):
        assert line in text
    assert "h_W" not in str(training_limit(network(lambda x: x + epsilon * Weights("W")(tanh(x)))))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (ResNet(tanh, width=4), "infinite width, got width=4"),
        (ShapedMLP(tanh, a=1), "say the layer as a Network"),
        ("resnet", "expects a network"),
        (network(lambda x: x + epsilon * W(dropout(x, 0.5))), "leave out dropout"),
        (network(lambda x: x - epsilon**2 * W.T(tanh(W(x)))), "transposes"),
        (network(lambda x: x + epsilon * W(x), positions=2), "positions"),
        (network(lambda x: x + epsilon * W(tanh(W(x)))), "W is applied several times"),
        (network(lambda x: x + epsilon * Weights("W", bias_mean=1)(x)), "means, such as those of W"),
        (
            network(lambda x: x + epsilon * Weights("W", bias_variance=BIAS)(x), parameters=(BIAS,)),
            "number for the variance of the biases of W",
        ),
        (network(lambda x: x + epsilon * Weights("W", mean=1)(x)), "centred"),
        (network(lambda x: x + epsilon * Weights("W", law="orthogonal")(x)), "independent Gaussian entries"),
        (network(lambda x: x + epsilon * Weights("W", variance=1 + symbols.time)(x)), "number for the variance"),
        (network(lambda x: x + epsilon * W(tanh(Weights("B", out=8)(x)))), "all layers grow with the width"),
        (network(lambda x: x + epsilon * Weights("A")(Weights("B", variance=0)(x))), "starts at 0"),
        (network(lambda x: x + epsilon * tanh(x)), "no matrix"),
        (network(lambda x: x + epsilon * W(sp.sign(x))), "jumps"),
        (network(lambda x: x + epsilon * sp.Symbol("c") * W(x), parameters=(sp.Symbol("c"),)), "substitute values"),
        (MLP(relu), "say the layer as a Network"),
        (network(lambda x: x + epsilon * W(x**3)), "grows faster than linearly"),
        (network(lambda x: x + epsilon * W(x**2 * sp.sin(x))), "has slopes that are not bounded"),
        (network(lambda x: x + epsilon * W(sp.sin(x**2))), "has slopes that are not bounded"),
        (network(lambda x: x + epsilon * W(x) * Weights("B")(x)), "leave out gates"),
        (network(lambda x: x + epsilon * W(sp.sqrt(x))), "not defined for all real numbers"),
        (network(lambda x: x + epsilon * W(1 / x)), "not defined for all real numbers"),
        (network(lambda x: x + epsilon * W(sp.sqrt(sp.Abs(x)))), "slope of .* is infinite"),
    ],
    ids=lambda value: None if isinstance(value, str) else "net",
)
def test_what_is_refused(net, message):
    with pytest.raises(DerivationError, match=message):
        training_limit(net)


@pytest.mark.parametrize("body", [sp.sin, lambda x: sp.exp(sp.sin(x)), lambda x: sp.tanh(x) * sp.cos(3 * x)])
def test_what_oscillates_with_bounded_slopes_is_trained(body):
    assert not training_limit(network(lambda x: x + epsilon * W(body(x)))).is_linear
