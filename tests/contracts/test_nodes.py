"""SymPy's conventions, for every node of this project: a contract over the list of them."""

from __future__ import annotations

import importlib
import pickle
import pkgutil

import mpmath
import numpy as np
import pytest
import sympy as sp
from sympy.core.function import PoleError

import derivations
import numerics
from derivations import DerivationError
from derivations.calculus.linear import ItoIntegral
from derivations.constants import Constant, Whole
from derivations.gaussian import expect, expect_pair, joint_mean, softmax_mean
from derivations.laws import LAWS
from derivations.notation.nodes import Notation
from derivations.piecewise import IsolatedRoot
from derivations.piecewise.continued import Continued
from derivations.special import (
    ErfiInv,
    ExpertGate,
    IntervalKernel,
    LogIntervalKernel,
    LogNormalCdf,
    ScaledBesselI,
    Weber,
    WeberCoordinate,
)
from derivations.sums import coordinate_sum

q = sp.Rational
v = sp.Symbol("v", positive=True)
x, y = sp.symbols("x y", real=True)
third, half = q(1, 3), q(1, 2)

#: A node of each class in one variable v, with numbers for all else.
NODES = {
    "ErfiInv": ErfiInv(v),
    "ExpertGate": ExpertGate(3, 1, v, half, third),
    "ScaledBesselI": ScaledBesselI(third, v),
    "LogNormalCdf": LogNormalCdf(-v),
    "IntervalKernel": IntervalKernel(1, v, third, half),
    "LogIntervalKernel": LogIntervalKernel(v, third, half),
    "Weber": Weber(1, 1, 3, half, v),
    "WeberCoordinate": WeberCoordinate(1, 3, v / 2),
    "GaussianExpectation": expect(sp.tanh(x) ** 2, x, v),
    "GaussianJointExpectation": joint_mean((1 + sp.exp(x - y)) ** -2, (x, y), ((1 + v, 1), (1, 1))),
    "GaussianPairExpectation": expect_pair(sp.tanh(x), sp.tanh(x), x, ((1, v / 2), (v / 2, 1))),
    "Continued": Continued(sp.Lambda(v, sp.exp(-1 / v) + v**2), v - q(1, 10), sp.Tuple(0)),
    "Constant": sp.sin(v * Constant(sp.exp(third))),
    "Whole": sp.sin(v * Whole(expect(sp.tanh(x) ** 2, x))),
    # the first position sees itself alone, so that one number is left, which is no polynomial in v
    "SoftmaxMean": softmax_mean(1, 1, ((1, v), (v, 2)), ((1, v / 2), (v / 2, 1)), ((1, 0), (0, v)), ((1, 0), (1, 1))),
}
PAIR = "GaussianPairExpectation"  # a value takes a second
VALUED = [name for name in NODES if name != PAIR]
AT = q(3, 10)
#: Nodes that have no values of their own, and what they say to one who asks for them.
VALUELESS = {
    "CoordinateSum": (coordinate_sum(sp.tanh(v * x), (x,), sp.Symbol("n", integer=True, positive=True)), "no neurons"),
    "ItoIntegral": (ItoIntegral(v * x, x, sp.Symbol("t", positive=True)), "random"),
}
#: Laws of random matrices.
MATRIX_LAWS = {"Correlated", "MatrixLaw", "Gaussian", "Independent", "Orthogonal"}
#: Words of the language of layers and of its elimination: they describe networks and are no functions of numbers.
INSIDE_ELIMINATION = {
    "Coefficient",
    "FilterAverage",
    "HeldMean",
    "HeldSum",
    "SoftmaxShare",
    "Woven",
}  # no result holds them
POSITIONS = {"Other", "OverPositions", "PositionMatrix", "Rotary", "Softmax", "TransposeApplied"}
DESCRIPTIONS = (
    {"Applied", "Average", "Cases", "Factor", "Filter", "Held", "LayerAverage", "Node", "Weights"}
    | INSIDE_ELIMINATION
    | MATRIX_LAWS
    | POSITIONS
)
#: Evaluates and differentiates (tests of exit times), and is not printed as code.
UNPRINTED = {"IteratedIntegral"}
#: Nodes that no user meets: bases, and what a target's rewriting makes just before it prints.
INTERNAL = {
    "GivenSum",
    "Binding",
    "GaussianMean",
    "Semidefinite",
    "Numeric",
    "Positive",
    "ErrorTail",
    "ExponentialTail",
    "Apart",
    "Where",
    "LogCosh",
    "Logistic",
    "ReciprocalSinh",
    "ReciprocalExpm1",
    "ShownRoot",
    "ShownNumber",
    "Numerator",
}
#: What formulas are explained with: notation without rules of computation (tests/derivations/explain/test_typst.py prints each).
NOTATION_CLASSES = {"Notation"} | {cls.__name__ for cls in Notation.__subclasses__()}


def all_nodes():
    for package in (derivations, numerics):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.rsplit(".")[-1] not in ("differentiable", "scalar", "tensors", "__main__"):
                importlib.import_module(module.name)
    found, todo = set(), [sp.Basic]
    while todo:
        todo += (below := todo.pop().__subclasses__())
        found |= {c.__name__ for c in below if (c.__module__ or "").split(".")[0] in ("derivations", "numerics")}
    return found


def test_the_list_is_whole():
    assert all_nodes() - DESCRIPTIONS - UNPRINTED - NOTATION_CLASSES == {*NODES, *VALUELESS, *INTERNAL, "IsolatedRoot"}


@pytest.mark.parametrize("name", VALUED)
def test_values_to_any_precision(name):
    few, many = (NODES[name].subs(v, AT).evalf(digits) for digits in (20, 45))
    assert few.is_Float
    assert abs(few - many) < abs(many) * sp.Float(10) ** -18
    assert sp.N(NODES[name].subs(v, AT) + 1, 30) - 1 - many < sp.Float(10) ** -25


@pytest.mark.parametrize("target", ["numpy", "scipy", "mpmath", "math"])
@pytest.mark.parametrize("name", VALUED)
def test_lambdify_without_anything_said(name, target):
    function, exact = sp.lambdify(v, 1 + 2 * NODES[name], target), 1 + 2 * NODES[name].subs(v, AT).evalf(30)
    assert float(function(float(AT))) == pytest.approx(float(exact), rel=1e-12)
    if target == "mpmath":
        with mpmath.workdps(30):
            assert abs(function(mpmath.mpf(3) / 10) - mpmath.mpmathify(exact)) < 1e-27
    if target in ("numpy", "scipy"):
        both = function(np.array([[0.3, 0.4]]))
        assert both.shape == (1, 2)
        assert both[0, 1] == pytest.approx(float(1 + 2 * NODES[name].subs(v, q(4, 10)).evalf(20)), rel=1e-12)


@pytest.mark.parametrize("name", VALUELESS)
def test_what_has_no_value_says_so(name):
    node, says = VALUELESS[name]
    for target in ("numpy", "scipy", "mpmath", "math"):
        with pytest.raises(DerivationError, match=says):
            sp.lambdify(v, node, target)
    assert node.evalf() == node


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "GaussianJointExpectation" else n for n in VALUED]
)
def test_derivatives_and_series_are_of_the_values(name):
    node = NODES[name]
    h = q(1, 10**8)
    central = ((node.subs(v, AT + h) - node.subs(v, AT - h)) / (2 * h)).evalf(25)
    slope = node.diff(v).subs(v, AT).evalf(25)
    assert abs(central - slope) < 1e-12 * (1 + abs(slope))  # the central difference errs by h² times a third derivative
    y = sp.Symbol("y", real=True)
    shifted = node.subs(v, AT + y)
    polynomial = shifted.series(y, 0, 3).removeO()
    small = q(1, 1000)
    # each to 30 digits: a sum that cancels would be worked out to more and more
    errors = [abs(polynomial.subs(y, s).evalf(30) - shifted.subs(y, s).evalf(30)) for s in (small, small / 2)]
    assert errors[0] < 1e-5 * (1 + abs(slope))
    assert 6 < errors[0] / errors[1] < 11  # the error is of third order: 8, but for the next term
    assert shifted.as_leading_term(y) == node.subs(v, AT)


@pytest.mark.slow
def test_the_mean_of_a_pair_as_the_others():
    node = NODES[PAIR]
    for target in ("scipy", "mpmath"):
        assert float(sp.lambdify(v, node, target)(1)) == pytest.approx(0.186324413203, abs=1e-12)
    # E tanh U tanh V = ρ (E tanh' )² + O(ρ³)
    first = node.series(v, 0, 2).removeO().coeff(v)
    assert float(first.evalf(15)) == pytest.approx(
        float(expect(sp.diff(sp.tanh(x), x), x).evalf(15)) ** 2 / 2, rel=1e-12
    )


def test_a_series_at_a_branch_point():
    assert sp.limit(ScaledBesselI(third, v) / v**third, v, 0) == 2 ** (-third) / sp.gamma(q(4, 3))
    assert sp.limit(ErfiInv(v) / v, v, 0) == sp.sqrt(sp.pi) / 2
    for kernel in (NODES["IntervalKernel"], NODES["LogIntervalKernel"]):
        with pytest.raises(PoleError, match="faster than every power"):
            kernel.series(v, 0, 2)


@pytest.mark.parametrize("name", [*NODES, *VALUELESS])
def test_algebra(name):
    node = NODES[name] if name in NODES else VALUELESS[name][0]
    w = sp.Symbol("w", positive=True)
    assert node.free_symbols >= {v}
    assert node.subs(v, w) == node.xreplace({v: w}) != node
    assert node.subs(v, w).subs(w, v) == node
    assert hash(node.subs(v, w).subs(w, v)) == hash(node)
    assert pickle.loads(pickle.dumps(node)) == node
    assert sp.expand((node + 1) ** 2 - node**2 - 2 * node) == 1
    assert node.func(*node.args) == node
    assert node.rewrite(sp.exp).free_symbols <= node.free_symbols
    assert node.is_commutative
    if name != "ItoIntegral":
        assert node.is_extended_real
        assert sp.re(node) == node
    for text in (str(node), sp.latex(node), sp.srepr(node), sp.pretty(node)):
        assert "Dummy_" not in text


def test_a_root_is_a_number_as_sympy_s_are():
    root = IsolatedRoot(sp.cos(x) - x, x, half, sp.S.One)
    exact = 0.7390851332151607
    assert pickle.loads(pickle.dumps(root)) == root
    assert root.subs(x, 3) == root
    assert sp.diff(root * x, x) == root
    assert float(root) == exact
    for target in ("numpy", "scipy", "mpmath", "math"):
        assert float(sp.lambdify(x, root + x, target)(1.0)) == pytest.approx(1 + exact, rel=1e-14)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_laws_in_scipy_s_functions(law):
    made = law.example()
    time = sp.Symbol("t", positive=True)
    # without a sign, so that a law of both sides of a point is by cases, of which compiled code works out both
    state, start = sp.symbols("s x_0", real=True)
    density = made.pdf(state, time, start) if hasattr(made, "pdf") else None
    if density is None or density.free_symbols - {state, time, start}:
        pytest.skip("no density, or parameters")
    if density.has(sp.Integral):
        pytest.skip("a density by an integral")
    compiled = sp.lambdify((state, time, start), density, "scipy")
    for at, began in ((q(2, 5), half), (-q(2, 5), half), (q(2, 5), -half), (-q(7, 5), -half)):
        if any(made.diffusion.domain.contains(place) != sp.true for place in (at, began)):
            continue
        with np.errstate(all="ignore"):  # in the case that does not hold
            found = compiled(float(at), 0.3, float(began))
        exact = density.subs({state: at, time: q(3, 10), start: began}).evalf(20)
        assert np.isrealobj(found)
        assert float(found) == pytest.approx(float(exact), rel=1e-10)
