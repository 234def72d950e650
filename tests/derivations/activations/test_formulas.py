"""Formulas that people type, and random ones: each derives, or says why not, in seconds."""

import random
import time
from collections import Counter

import pytest
import sympy as sp

from derivations import Network, ResNet, Weights, derive, epsilon, parse_activation, relu
from derivations.errors import DerivationError, UnsafeExpression

A, B = Weights("A"), Weights("B")
TYPED = [
    "(x-2)*(sigmoid(1-x)-silu(2)*silu(1))",
    "min(max(x,0),6)",
    "max(x,0)+min(exp(x)-1,0)",
    "max(x,0)+exp(min(x,0))-1",
    "1.0507009873554805*(max(x,0)+1.6732632423543772*(exp(min(x,0))-1))",
    "x*tanh(log(1+exp(x)))",
    "min(max(x,-1),1)",
    "x*min(max(x+3,0),6)/6",
    "min(max(x+3,0),6)/6",
    "x/(1+abs(x))",
    "sigmoid(x)",
    "x*sigmoid(1.702*x)",
    "0.5*x*(1+tanh(sqrt(2/pi)*(x+0.044715*x**3)))",
    "max(x,0)**2",
    "max(x-0.5,0)+min(x+0.5,0)",
    "x*heaviside(abs(x)-0.5)",
    "abs(x)",
    "sqrt(abs(x))",
    "x**3",
    "x+sin(x)**2",
    "exp(-x**2)",
    "sin(x)/x",
    "log(1+x**2)",
    "atan(x)",
    "sin(x)",
    "x*tanh(x)",
    "softplus(x)",
    "log(cosh(x))",
    "heaviside(x)",
    "sign(x)",
    "max(tanh(x),0)",
    "max(x**2-1,0)",
    "x-tanh(x)",
    "max(x,0)-2*max(x-1,0)+max(x+2,0)-max(x-3,0)",
    "silu(x**64)",
    "gelu(gelu(gelu(x)))",
    "tanh(tanh(tanh(tanh(x))))",
    "silu(3.1)*((x-(0.2)**2)-sigmoid(erf(2)))",
    "(x-exp(-3.17))*(x+exp(2.03))",
    "x+silu(min(1.2,2.3))",
    "(((x-2.3)*x)*sin(2))+x",
]
#: Those that every run of the fast tests derives, one of each kind.
FAST = {
    "min(max(x,0),6)",
    "max(x,0)+min(exp(x)-1,0)",
    "x*sigmoid(1.702*x)",
    "max(tanh(x),0)",
    "sin(x)/x",
    "heaviside(x)",
    "x-tanh(x)",
    "(x-2)*(sigmoid(1-x)-silu(2)*silu(1))",  # powers of e in its potential
}


def seconds(action):
    """What an action returns, and the processor time that it takes."""
    start = time.process_time()
    return action(), time.process_time() - start


@pytest.mark.parametrize(
    "text", [pytest.param(text, marks=[] if text in FAST else [pytest.mark.slow]) for text in TYPED]
)
def test_what_people_type_derives(text):
    activation = parse_activation(text)
    narrow, spent = seconds(lambda: derive(ResNet(activation, width=1)))
    assert spent < 5
    phi = activation.expr
    x = activation.variable
    (a,) = narrow.limit.covariance
    state = narrow.limit.states[0]
    for at in (sp.Rational(-7, 3), sp.Rational(1, 7), sp.Rational(5, 4), sp.Integer(9)):
        assert abs((a.subs(state, at) - phi.subs(x, at) ** 2).evalf(20)) <= abs(phi.subs(x, at).evalf(20)) ** 2 / 10**15
    assert narrow.law is not None or narrow.why_no_law
    assert not any(isinstance(f, sp.DiracDelta) for f in a.atoms(sp.Function))
    wide, spent = seconds(lambda: derive(ResNet(activation, width=sp.oo)))
    assert spent < 5
    assert wide.order == "width"


UNARY = (
    "tanh",
    "relu",
    "abs",
    "exp",
    "sin",
    "cos",
    "atan",
    "sigmoid",
    "gelu",
    "silu",
    "softplus",
    "sqrt",
    "log",
    "erf",
)


def random_formula(draw, depth=0):
    """A formula of the parser's language, at most four functions deep."""
    if depth == 4 or draw.random() < 0.12 + 0.13 * depth:
        return draw.choice(("x", "x", "x", "x", f"{draw.randint(1, 40) / 10}", "1", "2"))
    inner = lambda: random_formula(draw, depth + 1)  # noqa: E731
    kind = draw.randint(0, 9)
    if kind <= 3:
        return f"{draw.choice(UNARY)}({inner()})"
    if kind <= 7:
        return f"({inner()}{draw.choice('+-**/')}{inner()})"
    if kind == 8:
        return f"({inner()})**{draw.randint(2, 4)}"
    return f"{draw.choice(('max', 'min'))}({inner()},{inner()})"


def outcome(text):
    """How the derivation of a formula ends, and in how many seconds."""
    try:
        activation = parse_activation(text)
    except UnsafeExpression:
        return "not accepted", 0.0
    if not activation.expr.free_symbols:
        return "constant", 0.0
    start = time.process_time()
    try:
        derive(ResNet(activation, width=1))
        ended = "derived"
    except DerivationError as error:
        ended = "refused: " + str(error)
    return ended, time.process_time() - start


@pytest.mark.slow
@pytest.mark.parametrize("seed", [9, 77])
def test_random_formulas_derive_in_time(seed):
    draw, ends, late = random.Random(seed), Counter(), []
    while ends["derived"] + ends["refused"] < 100:
        text = random_formula(draw)
        ended, spent = outcome(text)
        ends[ended.split(":")[0]] += 1
        if spent > 5:
            late.append((text, spent))
    assert not late
    assert ends["derived"] >= 75


@pytest.mark.slow
def test_deep_nesting_derives_in_time():
    """Its potential is not written out: each derivative multiplies by as many factors as there are levels."""
    deep = sp.Symbol("x", real=True)
    for _ in range(75):
        deep = sp.tanh(deep)
    derived, spent = seconds(lambda: derive(ResNet(deep, width=1)))
    assert spent < 5
    assert "too large a formula to be written out" in str(derived.why_no_law)


def test_kinks_of_kinks_behind_a_matrix():
    once, twice, other = (
        derive(Network(lambda x, f=f: x + epsilon * B(f(A(x))), width=2)).limit.covariance
        for f in (relu, lambda a: relu(relu(a)), lambda a: parse_activation("(x >= 0)*x + x")(relu(a)))
    )
    assert once[0, 0] == twice[0, 0]
    assert sp.expand(other[0, 0] - 4 * once[0, 0]) == 0
    a, b = sp.symbols("a b", real=True)
    jump = parse_activation("(x > 0)")(relu(a) - relu(b))
    assert [jump.subs({a: u, b: v}) for u, v in ((1, 2), (2, 1), (-1, 0), (-1, -2))] == [0, 1, 0, 0]
