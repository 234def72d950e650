"""Questions that people ask in public trackers: one call each, and the answer stands in what it prints."""

import pytest
import sympy as sp

from derivations import (
    MLP,
    AttentionBlock,
    Network,
    TransformerBlock,
    Weights,
    gelu,
    layer_norm,
    relu,
    scalings,
    selu,
    symbols,
)
from derivations.exponents.answer import one_changed

n = symbols.width
A, B = Weights("A"), Weights("B", out=4 * n)
alpha, beta, gamma, m, s = sp.symbols("alpha beta gamma m s", positive=True)
HALF = sp.Rational(1, 2)


def layer(function, *parameters):
    return Network(function, width=n, parameters=parameters)


scaled = layer(lambda x: x + m * Weights("A", variance=s**2)(relu(B(layer_norm(x)))), m, s)
QUESTIONS = {
    "1/√N beside a norm": (
        lambda: scalings(layer(lambda x: x + A(gelu(B(layer_norm(x)))))),
        "noise only, for p = 1/2",
        "1. In short",
        "A limit for p = 1/2, p_μ_A > 1/2: neurons diffuse without a drift",
        "As it stands the branch does not shrink with the depth",
        "Over the layers, nothing explodes: the mean square of the neurons grows in proportion to the time, the depth",
    ),
    "sums over √2": (
        lambda: scalings(layer(lambda x: (x + Weights("A", variance=2)(relu(B(x)))) / sp.sqrt(2))),
        "X_{l+1}^i = ε*u_A^i + sqrt(1 - ε**2)*X_l^i",
        "the layer is that of size sqrt(2)/2",
        "As it stands a layer keeps sqrt(2)/2 of its state at any depth, and (sqrt(2)/2)**L of the input is left after all of them",
        "settles in finitely many layers, and has no limit in depth. At infinite width: Every variance rests: a layer keeps it",
        "drift and noise, for p = 1/2",
    ),
    "DeepNorm": (
        lambda: scalings(
            layer(lambda x: layer_norm(alpha * x + beta**2 * A(relu(B(x)))), alpha, beta),
            small={alpha: -sp.Rational(1, 4), beta: sp.Rational(1, 4)},
        ),
        "As it stands the network tends to the identity: what all layers add is of size 1/sqrt(L)",
        "With one size changed and the others as they are there is a limit: p_α = 0 or p_β = 1/8",
        "A limit with drift and noise, for p_α = 2*p_β - 1/2",
    ),
    "LayerScale": (
        lambda: scalings(layer(lambda x: x + gamma * A(gelu(B(layer_norm(x)))), gamma), small=(gamma,)),
        "neurons diffuse without a drift, over a time of L*γ**2",
        "well below 1 the network is still close to the identity",
        "time of L layers = L*γ**2",
        "A limit with noise only, for p_γ = 1/2",
    ),
    "1/L with larger weights": (
        lambda: scalings(scaled, small={m: 1, s: -HALF}),
        "As it stands the network is in a regime with a limit: noise only",
        "A limit with noise only, for p_m = 1/2 - p_s",
    ),
    "1/L with larger weights, trained": (
        lambda: scalings(scaled, small={m: 1, s: -HALF}, training=True),
        "Steps of sign type, as Adam's first one: B 1/(sqrt(L)*n), A 1/n.",
        "of B, at the network's exponents and r = 1 = 1/(sqrt(L)*n)",
        "of A, at the network's exponents and r = 1 = 1/n",
    ),
    "1/√L, trained": (
        lambda: scalings(scaled, small={m: HALF, s: 0}, training=True),
        "of B, at the network's exponents and r = 1 = 1/(sqrt(L)*n)",
        "of A, at the network's exponents and r = 1 = 1/(sqrt(L)*n)",
    ),
    "coordinate checks": (
        lambda: scalings(MLP(relu), training=True),
        "the output moves by sqrt(n) at rates with which W moves features by order 1: a coordinate check grows at the readout",
        "Steps of sign type, standard, r = 1: rate 1/n; features at every depth move by order 1, the output by 1",
    ),
    "coordinate checks of a convolution": (
        lambda: scalings(
            Network(lambda x: Weights("F", filter=3, variance=2)(relu(x)), width=n, positions=4), training=True
        ),
        "the output moves by sqrt(n) at rates with which F moves features by order 1: a coordinate check grows at the readout",
        "Steps of sign type, standard, r = 1: rate 1/n; features at every depth move by order 1, the output by 1",
    ),
    "gain of SELU": pytest.param(
        lambda: scalings(layer(lambda x: Weights("W")(selu(x)))),
        "As it stands a layer replaces its state, so that there is no limit in depth alone. At infinite width: The variance 1.00000 rests",
        "The variance 1.00000 rests, stable (slope 0.782648)",
        "The correlation 0 rests, stable (slope 0.970711)",
        "gain with which 1 rests = 1.00000",
        marks=pytest.mark.slow,
    ),
}


@pytest.mark.parametrize(
    ("ask", "answers"),
    [
        pytest.param(q.values[0], q.values[1:], marks=q.marks, id=name)
        if hasattr(q, "marks")
        else pytest.param(q[0], q[1:], id=name)
        for name, q in QUESTIONS.items()
    ],
)
def test_one_call_answers_in_words(ask, answers):
    printed = " ".join(str(ask()).split())
    for answer in answers:
        assert answer in printed


def test_names_of_ours_leave_those_of_the_user_alone():
    printed = str(scalings(scaled, small={m: 1, s: -HALF}))
    assert "s_2 = 1/n Sum_j X_l^j" in printed
    assert "    s = 1/n" not in printed
    assert "    s = 1/n" in str(
        scalings(layer(lambda x: x + m * A(relu(B(layer_norm(x)))), m), small=(m,))
    )  # the control


def test_a_single_size_that_would_give_a_limit_keeps_the_sign_of_its_exponent():
    branch = layer(lambda x: x + alpha * beta * A(relu(B(x))), alpha, beta)
    weak = scalings(branch, small={alpha: HALF, beta: HALF})
    assert one_changed(weak) == [sp.Eq(sp.Symbol(f"p_{name}", real=True), 0) for name in ("alpha", "beta")]
    assert one_changed(scalings(branch, small={alpha: HALF, beta: 0})) == []  # it has a limit as it stands
    strong = scalings(branch, small={alpha: sp.Rational(1, 4), beta: sp.Rational(1, 8)})
    assert {str(relation.rhs) for relation in one_changed(strong)} == {"3/8", "1/4"}


def test_shares_of_a_softmax_bound_the_growth_behind_a_norm():
    found = scalings(TransformerBlock(gelu, width=n, positions=2))
    both = found.long_run(tuple(found.at().sizes))
    assert (both.kind, both.power) == ("at most", 0)
    assert "nothing explodes: the mean square of the neurons grows at most in proportion to the time" in " ".join(
        str(found).split()
    )
    bare = scalings(TransformerBlock(gelu, width=n, positions=2, norm="none"))
    assert bare.long_run(tuple(bare.at().sizes)) is None  # the control: it grows exponentially


def test_attention_in_a_regime_is_said_with_names():
    said = str(scalings(AttentionBlock(width=8, positions=3)))
    regime = said[said.index("Regime 1") : said.index("Elsewhere")]
    assert "its variance = ε**2*E[a_1ᵀ C a_1]" in regime
    assert regime.count("Sum_j(X_t^{j,1}*X_t^{j,2})") == 2  # in the matrix C alone, which is symmetric
    assert "a_α is the softmax of row α" in " ".join(regime.split())
