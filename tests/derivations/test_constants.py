"""Constants of decimals are numbers of their own to algebra, and are shown, computed and kept as the formulas they are."""

import pickle

import mpmath
import pytest
import sympy as sp

from derivations import Diffusion, ResNet, derive, parse_activation
from derivations.calculus.boundaries import classify
from derivations.calculus.size import factored
from derivations.constants import Constant, in_few_constants, named, opened

x = sp.Symbol("x", real=True)
R = sp.Rational
C, D = Constant(sp.exp(R(317, 100))), Constant(sp.exp(-R(203, 100)))


def test_algebra_takes_a_constant_as_one_number():
    assert sp.limit((C * x + D) / (x - C), x, sp.oo) == C
    assert sp.factor(C * x**2 + 2 * C**2 * x + C**3) == C * (x + C) ** 2
    assert sp.cancel((x**2 - C**2) / (x - C)) == x + C
    assert (C - D).is_positive
    assert (D - C).is_negative
    assert not (C - D).is_zero
    assert sp.floor(C) == 23
    assert sp.Poly((C * x + D).subs(x, x**2), x).degree() == 2


def test_a_constant_is_shown_computed_and_kept_as_its_formula():
    formula = C * x + 1
    assert str(formula) == "exp(317/100)*x + 1"
    assert r"e^{\frac{317}{100}}" in sp.latex(formula)
    assert pickle.loads(pickle.dumps(formula)) == formula
    assert opened(formula) == sp.exp(R(317, 100)) * x + 1
    assert C == Constant(sp.exp(R(317, 100))) != Constant(sp.exp(R(318, 100)))
    assert hash(C) != hash(D)
    with mpmath.workdps(60):
        assert abs(mpmath.mpf(str(sp.N(C, 60))) - mpmath.exp(mpmath.mpf("3.17"))) < mpmath.mpf(10) ** -56
    for modules in ("numpy", "math", "mpmath"):
        assert sp.lambdify(x, formula, modules)(2) == pytest.approx(2 * float(mpmath.exp("3.17")) + 1, rel=4e-16)


def test_a_limit_with_constants_is_read_back_from_json():
    process = derive(ResNet(parse_activation("x*exp(0.77)-tanh(0.37)"), width=1)).limit
    assert process.covariance[0].atoms(Constant)
    assert Diffusion.from_json(process.to_json()) == process


def test_sums_of_constants_that_are_0_are_seen():
    one = sp.sin(R(21, 10)) ** 2 + sp.cos(R(21, 10)) ** 2
    assert named(x * (one - 1) + sp.tanh(x)) == sp.tanh(x)
    assert named(x + one - 1) == x
    tiny = R(1, 10**30)  # the control: what is small is no 0
    assert named(x + one - 1 + tiny) != x
    assert named(x * (one - 1 + tiny)) != 0


def test_exponentials_of_one_number_are_powers_of_one_constant():
    square = in_few_constants(x**2 + 2 * sp.exp(R(203, 100)) * x + sp.exp(R(203, 50)))
    assert len(square.atoms(Constant)) == 1
    assert sp.factor(square).is_Pow
    assert not named(sp.exp(2) * x + sp.sqrt(2) + sp.log(3)).atoms(Constant)


@pytest.mark.parametrize("number", [R("0.123456789"), sp.exp(R(33, 100))])
def test_numbers_in_exponents_are_no_powers_in_the_millions(number):
    assert sp.powsimp(factored(sp.exp(2 * x - 2 * number))) == sp.exp(2 * x - 2 * number)


@pytest.mark.slow
def test_ends_of_a_diffusion_with_such_constants_are_classified():
    """Given by itself, not by a network, and multiplied out: products of two exponentials are seen to be such."""
    a, b = sp.exp(-R(317, 100)), sp.exp(R(203, 100))
    process = Diffusion((x,), [0], [[sp.expand((x - a) ** 2 * (x + b) ** 2)]])
    for end in (a, named(a)):
        left, right = classify(process, (end, sp.oo))
        assert (left.kind, right.kind) == ("natural", "entrance")


@pytest.mark.parametrize("text", ["x+silu(1.2)", pytest.param("(x-2.3)*x*sin(2)+x", marks=pytest.mark.slow)])
def test_their_laws_are_short(text):
    """Of exp(-6/5) as the sixth power of exp(-1/5) the density was a formula of 20 000 characters, found in 4 s; limits are read off expansions."""
    law = derive(ResNet(parse_activation(text), width=1)).law
    assert law is not None
    assert len(str(law.parts[0].pdf(x))) < 3000


@pytest.mark.parametrize(
    ("text", "zeros"),
    [
        pytest.param("(x-exp(-3.17))*(x+exp(2.03))", 2, marks=pytest.mark.slow),
        pytest.param("silu(3.1)*((x-(0.2)**2)-sigmoid(erf(2)))", 1, marks=pytest.mark.slow),
        pytest.param("(2.3)**0.7*x*(1-x)", 2, marks=pytest.mark.slow),
        ("x**2-2*exp(2.03)*x+exp(4.06)", 1),
        ("sqrt(exp(0.31)+1.7)*x", 1),
    ],
)
def test_formulas_with_such_constants_have_laws(text, zeros):
    law = derive(ResNet(parse_activation(text), width=1)).law
    assert law is not None
    assert len(law.parts) == 2 * zeros + 1
