"""Typst: whole documents compile, and every node, function and piece of notation prints as mathematics that compiles."""

import re

import pytest
import sympy as sp
import typst as compiler

from derivations import (
    MLP,
    Network,
    ResNet,
    Weights,
    attention,
    average,
    causal,
    dropout,
    epsilon,
    other,
    over_positions,
    position_matrix,
    relu,
    rms_norm,
    rotary,
    softmax,
)
from derivations.calculus.iterated import IteratedIntegral
from derivations.covariances import Semidefinite
from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.held import Held
from derivations.limits.gram import gram_matrix
from derivations.notation import latex, plain, typst
from derivations.notation import nodes as n
from derivations.piecewise import IsolatedRoot
from derivations.piecewise.cases import Cases
from derivations.special.numeric import Numeric
from derivations.sums import CoordinateSum, coordinate_sum
from derivations.symbols import state, time, width
from tests.contracts.test_nodes import (
    INSIDE_ELIMINATION,
    INTERNAL,
    MATRIX_LAWS,
    NODES,
    NOTATION_CLASSES,
    VALUELESS,
    all_nodes,
)
from tests.helpers import derived

x, t, y = sp.symbols("x t y", real=True)
p = sp.Symbol("p", positive=True)
A, B = Weights("A"), Weights("B", out=4 * width)
CASES = {
    "relu-1": ResNet(relu, width=1),
    "relu-n": ResNet(relu, width=width),
    "relu-oo-inputs-2": ResNet(relu, width=sp.oo, inputs=2),
    "unshaped": MLP(relu, inputs=2),
    "attention": Network(
        lambda x: x + epsilon * attention(A(x), Weights("C")(x), Weights("D")(x), mask=causal), width=sp.oo, positions=2
    ),
    "program": Network(lambda x: x + epsilon * A(dropout(relu(B(rms_norm(x))), sp.Rational(1, 2))), width=sp.oo),
}


def compiled(*formulas):
    """Raises where the compiler complains, of warnings too."""
    source = "\n\n".join(f"$ {formula} $" for formula in formulas)
    pages, warnings = compiler.compile_with_warnings(source.encode())
    assert not warnings
    return pages


@pytest.mark.parametrize("name", CASES)
def test_documents_compile(name, tmp_path):
    source = derived(CASES[name]).write(tmp_path / "derivation.typ").read_text()
    pages, warnings = compiler.compile_with_warnings(source.encode())
    assert not warnings
    assert pages[:4] == b"%PDF"


def test_a_broken_document_is_noticed():
    """The control of the tests above: an unknown name and an open bracket are errors."""
    for broken in ("unknownname(x)", "frac(1, 2"):
        with pytest.raises(compiler.TypstError):
            compiled(broken)


PRINTED = NODES | {name: node for name, (node, _) in VALUELESS.items()} | {
    "IsolatedRoot": IsolatedRoot(x**5 - x - 1, x, sp.Integer(1), sp.Integer(2)),
    "IteratedIntegral": IteratedIntegral(sp.Lambda(x, x**2), sp.Lambda(y, sp.exp(y)), sp.S.Zero, sp.S.Zero, sp.S.One),
    "Applied": A(relu(state)),
    "Average": average(state**2),
    "Cases": Cases(sp.Tuple(x, x > 0), sp.Tuple(0, True)),
    "Factor": dropout(state, sp.Rational(1, 2)),
    "Other": other(state),
    "TransposeApplied": A.T(relu(state)),
    "OverPositions": over_positions(other(state)),
    "Softmax": softmax(average(state * other(state)), causal),
    "PositionMatrix": position_matrix([[0, 1], [1, 0]]),
    "Rotary": rotary(state, [1, 2]),
    "Held": Held(sp.tanh(x)),
    "LayerAverage": LayerAverage(x**2, sp.Tuple(x), sp.S.Zero),
    "Semidefinite": Semidefinite(gram_matrix(2)),
}  # fmt: skip
#: Bases, and what only a target's rewriting makes just before it prints code.
NEVER = INTERNAL - {"Semidefinite"} | {"Filter", "Node", "Weights"} | MATRIX_LAWS | INSIDE_ELIMINATION


def test_the_list_of_nodes_is_whole():
    assert all_nodes() - NOTATION_CLASSES - NEVER == set(PRINTED), (
        "a node without a case here, or a case without a node"
    )


@pytest.mark.parametrize("name", PRINTED)
def test_every_node_prints_as_mathematics(name):
    node = PRINTED[name]
    source = typst.typst(node)
    compiled(source, typst.typst(2 * node**3 if isinstance(node, sp.Expr) else node))
    words = set(re.findall(r"[A-Z][a-z]+[A-Z]\w*|_\w*print\w*|Dummy|Piecewise", source))
    assert not words, f"raw names in {source}"


def test_a_node_without_a_method_shows_its_name():
    """The control of the test above."""

    class RawName(Numeric):
        pass

    assert "RawName" in typst.typst(RawName(x))


_TUPLE = sp.Tuple(sp.Symbol("X"))
NOTATION = {
    "Word": n.Word('in "law" \\ 5%'),
    "Scripted": n.indexed("X", (n.letter("ell") + 1,), ("i", x + y)),
    "DifferentialOf": n.DifferentialOf(x),
    "Rate": n.Rate(x, t),
    "DerivativeOf": n.DerivativeOf(n.expected(x), t),
    "Partial": n.Partial(x) ** 2,
    "Variation": n.Variation(x, y, time),
    "Expectation": n.expected(x + y),
    "Variance": n.Variance(x**2, sp.Tuple()),
    "Covariance": n.covariance_of(x, y, sp.Symbol("X")),
    "ProbabilityOf": n.ProbabilityOf(n.equals(x, y)),
    "TransitionDensity": n.TransitionDensity(time, x, y),
    "Distribution": n.Distribution("Bernoulli", sp.Rational(1, 2)),
    "Total": n.Total(x + y, sp.Symbol("j"), width, (sp.Symbol("d"),)),
    "Juxtaposed": n.Juxtaposed(x + y, sp.sqrt(y), n.Word("in law")),
    "Listed": n.Listed(x, x + y),
    "Angled": n.Angled(x**2),
    "Transposed": n.Transposed(x),
    "Norm": n.Norm(x) ** 2,
    "Remainder": n.Remainder("o", x**2),
    "EvaluatedAt": n.EvaluatedAt(x**2, n.equals(x, sp.S.Zero)),
}


def test_every_piece_of_notation_prints_in_every_format():
    assert set(NOTATION) == {cls.__name__ for cls in n.Notation.__subclasses__()}
    for name, node in NOTATION.items():
        assert str(node)
        assert sp.latex(node)
        assert sp.pretty(node)
        for shown in (plain.plain(node), latex.latex(node), typst.typst(node)):
            assert name not in shown, shown
    compiled(*map(typst.typst, NOTATION.values()))


FORMULAS = {
    sp.Rational(-1, 2) * x: "-frac(x, 2)",
    x ** sp.Rational(-1, 2): "frac(1, sqrt(x))",
    -x - 1: "-x - 1",
    2 * sp.Integer(3) ** x: "2 dot 3^(x)",
    (x + 1) ** 2 / (2 * y): "frac((x + 1)^(2), 2 y)",
    x * (y - 1): "x (y - 1)",
    sp.Symbol("x_1^2", real=True) ** 2: "(x_(1)^(2))^(2)",
    sp.sqrt(x) ** 3: "x^(3/2)",
    sp.exp(-(x**2)): "e^(-x^(2))",
    sp.Symbol("sigma_max"): 'sigma_("max")',
    sp.Symbol("slope_out"): '"slope"_("out")',
    sp.Symbol(r"\varphi''(0)"): "phi''(0)",
    sp.Function("varphi_n")(x): "phi_(n)(x)",
    sp.besseli(0, x) ** 2: "I_(0)(x)^(2)",
    sp.log(x) ** 2: "log(x)^(2)",
    sp.Interval.Lopen(0, 1): "lr(( 0, 1 ])",
    sp.And(x > 0, y <= 1): "y <= 1 and x > 0",
    coordinate_sum(x**2, (x,), width) ** 2: "(sum_(j = 1)^(n) (X_(t)^(j))^(2))^(2)",
}


@pytest.mark.parametrize("formula", FORMULAS, ids=str)
def test_formulas(formula):
    assert typst.typst(formula) == FORMULAS[formula]
    compiled(typst.typst(formula))


def test_whatever_sympy_makes_of_functions_compiles():
    z = sp.Symbol("z", positive=True)
    functions = (
        sp.erf, sp.erfc, sp.erfi, sp.erfinv, sp.erfcinv, sp.gamma, sp.loggamma, sp.digamma, sp.Ei, sp.li, sp.Si, sp.sinh, sp.atanh, sp.asin,
        sp.acos, sp.atan, sp.acosh, sp.Abs, sp.sign, sp.floor, sp.ceiling, sp.Heaviside, sp.DiracDelta, sp.LambertW, sp.elliptic_k, sp.zeta,
        sp.factorial, sp.airyai, sp.sec, sp.sinc, sp.conjugate,
    )  # fmt: skip
    two = (
        sp.besseli,
        sp.besselk,
        sp.besselj,
        sp.hermite,
        sp.laguerre,
        sp.uppergamma,
        sp.lowergamma,
        sp.expint,
        sp.polygamma,
        sp.binomial,
    )
    made = [f(p / 3) for f in functions] + [f(z, p / 3) for f in two]
    made += [
        sp.jacobi(z, 1, 2, p),
        sp.gegenbauer(z, 1, p),
        sp.atan2(x, p),
        sp.Max(x, p),
        sp.Min(x, 1),
        sp.hyper((1, z), (2,), p),
    ]
    made += [f**3 for f in made] + [1 / f for f in made]
    made += [
        sp.Piecewise((x, sp.Or(x < 0, sp.And(x > 1, y < 2))), (sp.Piecewise((1, x < 2), (y, True)), True)),
        sp.Integral(sp.exp(x) + 1, (x, 0, sp.oo)) * y, sp.Integral(sp.exp(x), x), sp.Sum(x**2, (x, 1, width)) ** 2,
        sp.Derivative(sp.Function("f")(x, y), x, (y, 2)), sp.Subs(sp.Derivative(sp.Function("f")(x), x), x, 0),
        sp.Limit(sp.sin(x) / x, x, 0), sp.Matrix([[1, x], [sp.pi, sp.I]]), sp.Union(sp.Interval(0, 1), sp.FiniteSet(2, 3)),
        sp.ConditionSet(x, x > y, sp.S.Reals), sp.S.Reals**2, sp.Tuple(-sp.oo, sp.oo), sp.true, sp.nan, sp.zoo, sp.Float(1.5e-30), sp.E**2,
        sp.Ne(x, y), sp.Contains(x, sp.Interval.open(0, y)), sp.Lambda(x, x**2), sp.Order(x**2), sp.Not(sp.Contains(x, sp.S.Naturals)),
    ]  # fmt: skip
    compiled(*map(typst.typst, made))


def test_text_is_escaped():
    hostile = r"a_b *c* #d $e$ \f @g <h> [i] ~j `k` // l"
    source = typst.escaped(hostile)
    compiler.compile(source.encode())
    for mark in "_*#$@<>[]~`":
        assert f"\\{mark}" in source
    assert isinstance(VALUELESS["CoordinateSum"][0], CoordinateSum)
