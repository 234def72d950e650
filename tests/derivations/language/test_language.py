"""The language of layers: what is read, and what is refused with the statement named."""

from __future__ import annotations

import pickle
from inspect import isabstract

import numpy as np
import pytest
import sympy as sp

from derivations import (
    Activation,
    DerivationError,
    Network,
    NotClosed,
    ResNet,
    Weights,
    attention,
    average,
    causal,
    derive,
    drop_branch,
    dropout,
    epsilon,
    gram_limit,
    mixed,
    parse_layer,
    relu,
    rms_norm,
    self_attention,
)
from derivations.architectures import RECIPES, Recipe
from derivations.language import program
from derivations.language.statements import Mask, Matrix, Mean
from derivations.symbols import state as x
from derivations.symbols import width as n

A, B, C = Weights("A"), Weights("B", out=4 * n), Weights("C")


def test_statements_come_in_order_and_equal_ones_once():
    p = program(x + epsilon * A(dropout(relu(B(rms_norm(x))) * B(rms_norm(x)), sp.Rational(9, 10))))
    assert [type(s) for s in p.statements] == [Mean, Matrix, Mask, Matrix]
    mean, first, mask, second = p.statements
    assert (mean.body, mean.over.size) == (x**2, n)
    assert (first.source.size, first.target.size) == (n, 4 * n)
    assert mask.over == first.target == second.source
    assert second.target == p.neurons


def test_a_matrix_applied_twice_is_one_matrix():
    p = program(x + epsilon * (A(x) + A(sp.tanh(x))))
    assert len({s.weights for s in p.statements}) == 1
    assert len(p.statements) == 2


@pytest.mark.parametrize(
    ("layer", "variance"),
    [  # at x = 1: E (2d)^2 = 2, E (2d)^4 = 8
        (lambda x: A(dropout(x, 0.5)) * C(dropout(x**2, 0.5)), 4),
        (lambda x: A(dropout(x, 0.5)) * C(dropout(x, sp.Rational(1, 2))), 8),
        (lambda x: A(dropout(x, 0.5, "d")) * C(dropout(x**2, 0.5, "d")), 8),
        (lambda x: A(dropout(dropout(x, 0.5), 0.5)), 4),
        (lambda x: dropout(A(x), 0.5) - drop_branch(A(x), 0.5), 2),
        (lambda x: dropout(A(x), 0.5) - dropout(A(x), 0.5, shared=True), 2),
    ],
)
def test_different_bodies_are_dropped_by_factors_of_their_own(layer, variance):
    limit = derive(Network(lambda x: x + epsilon * layer(x), width=1)).limit
    assert limit.covariance[0, 0].xreplace({limit.states[0]: sp.S.One}) == variance


def test_what_has_one_name_is_dropped_with_one_probability():
    with pytest.raises(DerivationError, match="factors called d are drawn together"):
        Network(lambda x: x + epsilon * A(dropout(x, 0.5, "d")) + epsilon * C(dropout(x**2, 0.25, "d")), width=1)


def test_infinitely_many_neurons_of_two_layers_are_still_compared():
    with pytest.raises(DerivationError, match=r"P has n neurons and B has 4\*n"):
        Network(lambda x: x + epsilon * B.T(Weights("P")(x)), width=sp.oo)


def test_what_a_transpose_alone_puts_out_is_as_wide_as_the_state():
    net = Network(lambda x: x + epsilon * A(relu(Weights("P").T(x))), width=sp.oo)
    (drift,) = derive(net).limit.drift
    assert drift == derive(Network(lambda x: x + epsilon * A(relu(Weights("P")(x))), width=sp.oo)).limit.drift[0]


def test_width_symbol_in_a_matrix_means_the_layers():
    net = Network(lambda x: x + epsilon * A(relu(B(x))), width=3)
    assert net.program().statements[0].target.size == 12


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (lambda x: x + epsilon * sp.Symbol("beta") * A(x), "symbol beta is neither .* declare it"),
        (lambda x: x + epsilon * B(x), "shapes do not fit in the new state: the state has 3 neurons and B has 12"),
        (lambda x: x + epsilon * A(B(x) * x), "shapes do not fit"),
        (lambda x: x + epsilon * A(x) + Weights("A", variance=2)(x), "two different matrices are called A"),
        (lambda x: x + average(average(x)), "reads no neurons"),
        (
            lambda x: sp.Symbol("x") + epsilon * A(sp.Symbol("x")),
            "symbol x in x is not declared as x is; .* symbols.state",
        ),
        (lambda x: x + sp.Symbol("varepsilon") * A(x), "take symbols.step"),
        (lambda x: x + sp.I * epsilon * A(x), "a real, finite formula"),
        (lambda x: x + epsilon * A(x) / 0, "a real, finite formula"),
        (lambda x: x + epsilon * A(A.T(x)), "reads what its transpose put out"),
        (lambda x: "x", "must give the new state as an expression"),
        (lambda x: x + epsilon * dropout(A(x), 0), "probability of being kept"),
        (lambda x: x + epsilon * drop_branch(A(x), sp.Rational(3, 2)), "probability of being kept"),
        (lambda x: x + epsilon * Weights("A", variance=-1)(x), "variance of A must be at least 0"),
        (lambda x: x + epsilon * Weights("A", out=sp.Rational(3, 2))(x), "positive whole number of neurons"),
        (lambda x: x + epsilon * Weights("2 A")(x), "needs a name"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_statement(layer, says):
    with pytest.raises(DerivationError, match=says):
        Network(layer, width=3)


def test_a_constant_is_read_from_every_neuron():
    d = derive(Network(lambda x: x + epsilon * Weights("A", variance=3)(2), width=5))
    assert d.limit.neuron_covariance[0] == 12


@pytest.mark.parametrize("name", ["V", "K_12", "t"])
def test_parameters_named_as_results_are_refused(name):
    c = sp.Symbol(name, real=True) if name == "K_12" else sp.Symbol(name, positive=True)
    with pytest.raises(DerivationError, match=f"parameter {name} of the layer"):
        Network(lambda x: x + epsilon * c * A(x), width=2, parameters=(c,))


def test_a_matrix_that_reads_its_own_output_is_refused():
    with pytest.raises(DerivationError, match="reads what depends on its own output"):
        derive(Network(lambda x: x + epsilon * A(sp.tanh(A(x))), width=2))


def test_a_norm_of_hidden_neurons_has_no_closed_form_at_finite_width_but_a_flow():
    layer = lambda x: x + epsilon * A(relu(rms_norm(B(x))))  # noqa: E731
    with pytest.raises(NotClosed, match="fluctuates"):
        derive(Network(layer, width=2))
    assert derive(Network(layer, width=sp.oo)).limit.drift[0] == sp.Rational(1, 2)


def test_declared_parameters_stay_and_are_not_captured():
    a = sp.Symbol("A", positive=True)  # called as the matrix is
    d = derive(Network(lambda x: x + epsilon * a * A(x), width=1, parameters=(a,)))
    assert d.limit.covariance[0] == a**2 * x**2


def test_networks_pickle_and_compare():
    net = Network.example()
    assert pickle.loads(pickle.dumps(net)) == net
    assert hash(net) == hash(Network.example())


def test_recipes_are_complete():
    def below(kind: type) -> set[type]:
        return {kind}.union(*(below(b) for b in kind.__subclasses__()))

    ours = {kind for kind in below(Recipe) if kind.__module__.startswith("derivations.") and not isabstract(kind)}
    assert ours == set(RECIPES)


@pytest.mark.parametrize("kind", RECIPES, ids=lambda kind: kind.__name__)
def test_every_recipe_is_a_program(kind):
    p = kind.example().program()
    assert any(isinstance(s, Matrix) for s in p.statements)
    assert p.neurons.size == kind.example().width


@pytest.mark.parametrize(
    ("text", "expr"),
    [
        ("x + eps*A(relu(B(rms_norm(x), out=4*n)))", x + epsilon * A(relu(B(rms_norm(x))))),
        ("x + epsilon*A(dropout(leaky_relu(x, 0.2), 0.9))", None),
        ("rms_norm(x + eps*A(tanh(x)/2)) - average(x)**2", None),
        ("x + eps*drop_branch(A(x, variance=2), 1/2, shared=True)", None),
        ("x + eps*A(relu(B(x, law=orthogonal)))", x + epsilon * A(relu(Weights("B", law="orthogonal")(x)))),
        (
            "x + eps*attention(A(x), C(x), D(x), kind=linear, mask=causal)",
            x + epsilon * attention(A(x), Weights("C")(x), Weights("D")(x), kind="linear", mask=causal),
        ),
        ("x + eps*self_attention(rms_norm(x), heads=2, size=8)", x + epsilon * self_attention(rms_norm(x), 2, 8)),
        ("x + eps*over_positions(normalised_sum(A(x)*other(C(x)))*other(D(x)))", None),
        ("x + eps*max(A(x), C(x), 1)", x + epsilon * sp.Max(A(x), Weights("C")(x), 1)),
        ("x + eps*A(torch.minimum(relu(x), 6))", x + epsilon * A(sp.Min(relu(x), 6))),
        (
            "x + eps*A(where(C(x) > 0, x, 1))",
            x + epsilon * A(sp.Piecewise((x, Weights("C")(x) > 0), (1, True))),
        ),
        (
            "x + eps*A((0 < C(x) <= 1)*x)",
            x + epsilon * A(x * sp.Piecewise((1, (Weights("C")(x) > 0) & (Weights("C")(x) <= 1)), (0, True))),
        ),
    ],
)
def test_layers_are_read_from_text(text, expr):
    read = parse_layer(text)
    assert read.has(epsilon)
    if expr is not None:
        assert read == expr
    Network(read, width=4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x + eps*A(rellu(x))", "relu"),
        ("y + eps*A(x)", "unknown symbol 'y'|symbol"),
        ("x + eps*A(x, outt=3)", "out"),
        ("x + eps*A(x, x)", "one body"),
        ("__import__('os')", "'os' is a text in quotes; write words without them"),
        ("x.real", "no part of a layer"),
        ("x**x", "exponent"),
        ("x + eps*A(", "does not parse; 1 bracket is not closed"),
        ("x + eps*A(relu(B(x))", "does not parse; 1 bracket is not closed"),
        ("x + eps*A(x))", r"does not parse; a '\)' closes no bracket"),
        ("x + 1e300", "moderate size"),
        ("x + eps^2*tanh(x) + eps*A(x)", r"'\^' in .* write powers with \*\*"),
        ("x + eps*A()", r"A is given no arguments; apply it to something, such as A\(x\)"),
        ("x + eps*relu", r"a function is applied to something, such as relu\(x\)"),
        ("lambda: x", "no part of a layer"),
        ("x + eps*A(x, law=ortogonal)", "unknown law of weights"),
        ("x + eps*A(x, law=1+1)", "law"),
        ("x + eps*dropout(A(x), 1/2, shared=2)", "True or False"),
        ("x + eps*A(x, law='1+1')", "unknown law"),
        ("x + eps*A(relu(x, [1]))", "no lists"),
        ("x + eps*A(mixed([[0, 1]], x))", "must be square"),
        ("x + eps*A(x, out={1: 2})", "expected of a matrix"),
        ("x + eps*A(*x)", "no part of a layer"),
        ("x + eps*A(x, **y)", "no part of a layer"),
        ("x + eps*tanh.T(x)", "no transpose"),
        ("x + eps*attention(A(x), C(x), D(x), maks=causal)", "option of attention"),
        ("dropout(x, 0.5, share=True)", "unknown option of dropout 'share'; close names: shared"),
        ("A(x, out=3) + A(x, out=4)", "two sets of options"),
        ("x + eps*max(A(x))", "max has 1 arguments; give it 2 to 8"),
        ("x + eps*where(x, A(x), 1)", "is no choice by a comparison; write where"),
        ("x + eps*A(B(x) == 0)", "compares at single points"),
        ("+".join(["x"] * 900), "characters|too large"),
    ],
)
def test_text_that_is_no_layer_is_refused(text, says):
    with pytest.raises(DerivationError, match=says):
        parse_layer(text)


@pytest.mark.parametrize("inputs", [1, 2])
def test_errors_call_numbers_by_their_statements(inputs):
    """What a matrix puts out is called as the matrix is, with the input above it where there are several."""
    with pytest.raises(DerivationError) as caught:
        derive(Network(lambda x: A(relu(x)), width=3, inputs=inputs))
    above = "^1" if inputs > 1 else ""
    assert f"one layer moves the state by A{above} - x{above} even at ε = 0" in str(caught.value)
    with pytest.raises(DerivationError) as caught:
        derive(Network(lambda x: x + epsilon * A(sp.tanh(Weights("B", law="rademacher")(x))), width=3, inputs=inputs))
    assert "the mean of tanh(B" in str(caught.value)
    assert "_B" not in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda x: x - epsilon**2 * A.T(sp.tanh(A(x))), "Cov[v_A^{i,1}, v_A^{i,1} | X_l] = <tanh(u^{j,1})**2>"),
        (lambda x: x + epsilon * Weights("A", law="rademacher", bias_variance=2)(x), "Cov[b, b | X_l] = 2"),
        (lambda x: x + epsilon * Weights("A", law="orthogonal", bias_variance=2)(C(x)), "Cov[b_A, b_A | X_l] = 2"),
        (lambda x: x + epsilon * dropout(A(relu(x)), 0.5, shared=True), "Cov[Δ^{i,1}, Δ^{i,2} | X_l]"),
        (lambda x: x + epsilon * attention(A(x), C(x), Weights("D")(x)), "Cov[m^{i,1}, m^{i,2} | X_l] = Φ^{1,2}"),
    ],
    ids=["transpose", "bias apart", "two matrices", "shared mask", "softmax"],
)
def test_every_statement_that_draws_is_explained(layer, said):
    positions = 2 if "Φ" in said else ()
    assert said in str(derive(Network(layer, width=2, inputs=1 if positions else 2, positions=positions)))


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (lambda x: x + epsilon * A(x + sp.Symbol("y")), r"symbol y is neither .*, in x \+ y; declare it"),
        (lambda x: x + epsilon * A(B(sp.Symbol("c") * x)), r"symbol c is neither .*, in c\*x; declare it"),
        (lambda x: x + epsilon * Weights("A", variance=sp.Symbol("v"))(x), "symbol v .* in the matrix A"),
        (lambda x: x + epsilon * Weights("A", out=sp.Symbol("k"))(x), "symbol k .* in the number of neurons of A"),
        (lambda x: x + average(sp.Symbol("c") * x), r"symbol c is neither .*, in c\*x; declare it"),
        # one matrix applied to two layers of neurons
        (
            lambda x: A(relu(B(x))) + A(x),
            r"do not fit in A\(relu.*where A reads one layer of neurons, the same wherever",
        ),
        (lambda x: x + epsilon * A(B(x)) + Weights("C")(A(x)), "shapes do not fit"),
        (lambda x: x + epsilon * (A.T(B(x)) + A(x)), r"shapes do not fit in A.T\(B\(x\)\)"),
        # what is no expression
        (
            lambda x: x + epsilon * sp.MatrixSymbol("W", 3, 3) * x,
            "the layer is a function .*Matrix.*Weights applied to a body",
        ),
        (lambda x: x + epsilon * np.eye(3) @ x, "the layer is a function .*Weights applied to a body"),
        (lambda x: x + epsilon * A, "the layer is a function .* 'Weights'; matrices are Weights applied"),
        (lambda x, y: x, "the layer is a function from the state x of one neuron"),
        (lambda x: x.shape, "the layer is a function .* has no attribute 'shape'"),
        (lambda x: A(A), "A must be applied to an expression"),
        (
            lambda x: x + A(relu(Weights("B", out=n / 2)(x))),
            "B must put out a positive whole number .* got n/2 = 3/2 at a width of 3",
        ),
        (
            lambda x: x + A(relu(Weights("B", out=n - 4)(x))),
            "B must put out a positive whole number .* = -1 at a width of 3",
        ),
    ],
)
def test_bad_layers_are_refused_with_the_statement(layer, says):
    with pytest.raises(DerivationError, match=says):
        Network(layer, width=3)


@pytest.mark.parametrize(
    ("layer", "where"),
    [
        (lambda x: x + epsilon * A(sp.tanh(x)), "in A(tanh(x)), not"),
        (lambda x: x + epsilon * A(C(x) * sp.tanh(x)), "in A(C*tanh(x)), not"),
        (lambda x: x + epsilon * A(x) * average(x**4), "in average(x**4), not"),
        (
            lambda x: x + epsilon**2 * sp.tanh(x) + epsilon * A(x),
            "in the new state A*ε + ε**2*tanh(x) + x, not",
        ),
        (lambda x: x + epsilon * A(sp.sin(x)) + epsilon * C(sp.cos(x)), "in A(sin(x)) and in C(cos(x)), not"),
    ],
)
def test_a_layer_that_reads_neurons_one_by_one_is_named_where_invariance_is_needed(layer, where):
    with pytest.raises(NotClosed) as caught:
        gram_limit(Network(layer, width=3).program())
    assert f"the state is read neuron by neuron {where}" in str(caught.value)


def test_layers_that_read_neurons_together_have_a_gram_matrix():
    # d V = E b^2 dt + ..., where b is what the branch puts out for one neuron
    bounded = gram_limit(Network(lambda x: x + epsilon * A(sp.tanh(B(x))), width=3).program()).process
    assert bounded.drift[0].subs(bounded.states[0], 1).evalf(15) == pytest.approx(0.394294, abs=1e-6)
    scaled = gram_limit(Network(lambda x: x + epsilon * A(rms_norm(x)) * average(x**2), width=3).program()).process
    assert scaled.drift[0] == scaled.states[0] ** 2


def test_positions_are_explained_where_depth_and_width_grow_together():
    d = derive(Network(lambda x: x + epsilon * A(mixed([[0, 1], [1, 0]], x)), width=16, positions=2), order="joint")
    assert "dV_11/dt = V_22" in str(d)


def test_a_network_takes_numbers_and_symbols_in_place_of_its_own():
    c, d = sp.symbols("c d", positive=True)
    w = Weights("W", variance=c)
    net = Network(lambda v: v + c * epsilon * w(sp.tanh(v)), width=3, parameters=(c,))
    number = net.xreplace({c: sp.Integer(2)})
    assert number.parameters == ()
    assert number == Network(lambda v: v + 2 * epsilon * Weights("W", variance=2)(sp.tanh(v)), width=3)
    assert net.xreplace({c: d}).parameters == (d,)
    shaped = ResNet(Activation("scaled", sp.tanh(c * x)), width=3, weight_variance=c)
    assert shaped.xreplace({c: d}).expression() == shaped.expression().xreplace({c: d})


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("where(leaky_relu(B(x)) > 1/4, 1, 0)", "where(B(x) > 1/4, 1, 0)"),
        ("where(leaky_relu(B(x), 1/2) > -1/4, B(x), 0)", "where(B(x) > -1/2, B(x), 0)"),
        ("(relu(B(x)) > 1/4)*C(x)", "(B(x) > 1/4)*C(x)"),
    ],
)
def test_conditions_with_kinks_of_what_a_matrix_puts_out(said, plain):
    """SymPy solves such conditions for the state and did not return: where an increasing function is above its value at c, its argument is above c."""
    found, met, other = (
        derive(Network(f"x + eps*A({body})", width=sp.oo)).limit.drift[0]
        for body in (said, plain, plain.replace("/4", "/8").replace("/2,", "/4,"))
    )
    k = sp.Symbol("K", positive=True)
    found, met, other = (float(value.subs(k, sp.Rational(3, 2))) for value in (found, met, other))
    assert found == pytest.approx(met, rel=1e-12)
    assert found != pytest.approx(other, rel=1e-2)
