"""Bound variables: no symbol of a user's is taken for one, substitution renames, and each process writes the same."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest
import sympy as sp

from derivations import DerivationError, ResNet, depth_limit, relu, tanh
from derivations.activations import Activation
from derivations.calculus.linear import ItoIntegral, LinearSDE, brownian, inner_time
from derivations.gaussian import GaussianExpectation, GaussianPairExpectation, expect, expect_pair
from derivations.sums import CoordinateSum, coordinate_sum

x, a, b = sp.symbols("x a b", real=True)
n = sp.Symbol("n", integer=True, positive=True)
s = sp.Symbol("s", positive=True)

#: One node of each kind in a parameter a, and the symbol that the bound variable is printed as.
NODES = {
    "sum": (coordinate_sum(sp.tanh(a * x), (x,), n), "x_j"),
    "sum of two inputs": (coordinate_sum(sp.tanh(a * x) * b, (x, b), n), "x_j^1"),
    "mean": (expect(sp.tanh(a * x) ** 2, x, s), "z"),
    "mean of a pair": (expect_pair(sp.tanh(a * x), sp.atan(x), x, ((1, b), (b, s))), "u"),
    "stochastic integral": (ItoIntegral(sp.exp(a * s), s, sp.Symbol("t", positive=True)), "s"),
}


def bound(node):
    return set(node.atoms(sp.Symbol)) - node.free_symbols


@pytest.mark.parametrize("name", NODES)
def test_bound_variables_are_dummies_that_no_substitution_sees(name):
    node, printed = NODES[name]
    assert bound(node)
    assert all(isinstance(v, sp.Dummy) for v in bound(node))
    for variable in (*bound(node), *(sp.Symbol(v.name, **v.assumptions0) for v in bound(node))):
        assert node.subs(variable, 2) == node
        assert node.xreplace({variable: sp.Integer(2)}) == node
    homonym = sp.Symbol(printed, real=True)
    assert printed in str(node)
    assert f"{printed}'" in str(node.subs(a, homonym))  # what is printed stays apart, too


@pytest.mark.parametrize("name", NODES)
def test_substitution_renames_and_captures_nothing(name):
    node, _ = NODES[name]
    inside = next(iter(sorted(bound(node), key=str)))
    moved = node.subs(a, inside)  # a dummy taken from inside a node is a parameter outside
    assert inside in moved.free_symbols
    assert moved == node.xreplace({a: inside})
    assert moved.subs(inside, a) == node
    captured = node.xreplace({a: sp.Symbol("q", real=True)}).subs(sp.Symbol("q", real=True), inside)
    assert captured == moved


@pytest.mark.parametrize("name", NODES)
def test_subs_and_xreplace_agree(name):
    node, _ = NODES[name]
    for old, new in ((a, sp.Integer(2)), (a, a + b), (s, 2 * s), (n, n + 1), (sp.tanh, sp.sin)):
        if isinstance(old, sp.Symbol):
            assert node.subs(old, new) == node.xreplace({old: new})
    assert node.subs(a, b).subs(b, a) in (node, node.subs(b, a))
    assert node.xreplace({node: a}) == a
    assert (2 * node + 1).subs(node, b) == 2 * b + 1


def test_a_parameter_called_like_the_bound_variable():
    xi = sp.Symbol("xi_1", real=True)
    limit = depth_limit(ResNet(Activation("scaled", xi * sp.tanh(x), x), width=n))
    squares = coordinate_sum(sp.tanh(x) ** 2, (x,), n)
    assert limit.neuron_covariance[0, 0] == xi**2 * squares / n
    assert coordinate_sum(xi * x**2, (x,), n) == xi * coordinate_sum(x**2, (x,), n)
    z = sp.Symbol("z", real=True)
    assert expect(sp.tanh(x * z) ** 2, x).subs(z, 1) == expect(sp.tanh(x) ** 2, x)


def test_one_neuron_left_has_no_name():
    squares = coordinate_sum(sp.tanh(x) ** 2, (x,), n)
    one = squares.subs(n, 1)
    assert one == squares.xreplace({n: sp.S.One})
    assert one.free_symbols == set()
    assert one.explicit([(a,)]) == sp.tanh(a) ** 2
    assert one.subs(a, 3) == one


def test_a_mean_inside_a_mean_keeps_its_own_variable():
    square = GaussianExpectation(sp.Lambda(x, sp.exp(-(x**2) * a**2)), sp.S.Zero, sp.S.One)
    total = GaussianExpectation(sp.Lambda(a, square), sp.S.Zero, sp.S.One)
    assert total.free_symbols == set()
    function = total.args[0]  # captured it would be the mean of exp(-X⁴), without a variable of its own
    assert function(3) == square.subs(a, 3)
    assert function(3) != function(2)


def test_a_linear_equation_whose_coefficients_hold_a_symbol_called_s():
    t = sp.Symbol("t", positive=True)
    zero = sp.S.Zero
    growth = LinearSDE(zero, s * t, zero, zero, sp.S.One, t).fundamental
    assert sp.expand(sp.log(growth) - s * t**2 / 2) == 0
    assert ItoIntegral(s * inner_time, inner_time, t).free_symbols == {s, t}
    assert not brownian(t).has(sp.Dummy)


def test_derivatives_in_what_cannot_be_differentiated_are_refused():
    t = sp.Symbol("t", positive=True)
    with pytest.raises(DerivationError, match="number of its terms"):
        coordinate_sum(sp.tanh(x), (x,), n).diff(n)
    with pytest.raises(DerivationError, match="not differentiable"):
        ItoIntegral(s, s, t).diff(t)
    assert ItoIntegral(a**2 * s, s, t).diff(a) == ItoIntegral(2 * a * s, s, t)
    assert CoordinateSum(sp.tanh(a * x), (x,), n).diff(a) == coordinate_sum(x * (1 - sp.tanh(a * x) ** 2), (x,), n)


def test_a_sum_is_real_where_its_summand_is():
    c = sp.Symbol("c")
    assert coordinate_sum(sp.tanh(x), (x,), n).is_real
    assert CoordinateSum(sp.exp(c * x), (x,), n).is_real is None


SOURCE = """
import pickle, sys
import sympy as sp
from derivations import *
from tests.derivations.test_binding import every_node
A, B, C = map(Weights, "ABC")
made = [derive(net) for net in (
    ResNet(tanh, width=sp.Symbol("n", integer=True, positive=True)), ResNet(tanh, width=sp.oo, inputs=2),
    ResNet(ornstein_uhlenbeck, width=1), ResNet(gelu, width=3),
    ShrinkingResNet(silu, tanh, width=sp.oo, inputs=2), ShapedMLP(relu, c_plus=1, c_minus=0),
    ResNet(silu, width=sp.oo, inputs=3), GatedBlock(silu, width=sp.oo, inputs=2), MLPBlock(silu, width=sp.oo, inputs=2),
    PreNormResNet(silu, width=sp.oo, inputs=2), ConvBlock(silu, width=sp.oo), AttentionBlock(width=2),
    Network(lambda x: x + epsilon * A(tanh(B(x)) * silu(C(x))), width=sp.oo, inputs=2),
    Network(lambda x: x + epsilon * A(tanh(B(x)) * silu(C(x))), width=3, inputs=2))]
made.append(jacobian(ShrinkingResNet(tanh, silu, width=sp.Symbol("n", integer=True, positive=True))))
text = [d.to_json() + d.latex() + str(d) + repr(d) for d in made]
nodes = every_node()
print("\\0".join([*text, *(sp.srepr(node) + str(node) + sp.latex(node) for node in nodes)]), end="")
sys.stdout.flush()
sys.stdout.buffer.write(b"\\0\\0" + pickle.dumps(nodes))
"""


def every_node():
    """Those here, and one of each class of the contract, which a test holds to be whole."""
    from tests.contracts import test_nodes

    return [
        *(node for node, _ in NODES.values()),
        *test_nodes.NODES.values(),
        *(node for node, _ in test_nodes.VALUELESS.values()),
    ]


@pytest.mark.slow
def test_every_process_writes_the_same():
    def run(seed):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"}
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        ran = subprocess.run([sys.executable, "-c", SOURCE], capture_output=True, cwd=root, env=environment, check=True)
        text, nodes = ran.stdout.split(b"\0\0", 1)
        return text.decode().split("\0"), pickle.loads(nodes)

    (first, nodes), *others = map(run, "123")
    assert len(first) == 15 + len(every_node())
    for texts, _ in others:
        for one, other in zip(first, texts, strict=True):
            assert one == other
    assert nodes == every_node()  # from another process, with its own numbering of dummies
    assert list(map(hash, nodes)) == list(map(hash, every_node()))
    assert nodes[0] + nodes[0] == 2 * NODES["sum"][0]


def test_nodes_are_read_back_from_their_text():
    names = {k: v for k, v in vars(sp).items() if not k.startswith("_")} | {
        c.__name__: c for c in (CoordinateSum, GaussianExpectation, GaussianPairExpectation, ItoIntegral)
    }
    for node, _ in NODES.values():
        assert eval(sp.srepr(node), names) == node
        assert pickle.loads(pickle.dumps(node)) == node


def test_the_limits_of_two_names_are_one():
    y = sp.Symbol("y", real=True)
    assert coordinate_sum(sp.tanh(x) ** 2, (x,), n) == coordinate_sum(sp.tanh(y) ** 2, (y,), n)
    assert expect(sp.tanh(x) ** 2, x, s) == expect(sp.tanh(y) ** 2, y, s)
    assert depth_limit(ResNet(tanh, width=n)).neuron_covariance != depth_limit(ResNet(relu, width=n)).neuron_covariance
