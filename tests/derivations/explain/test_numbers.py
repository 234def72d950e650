"""Numbers of many digits are shown by their first ones, and kept whole where they are read by programs."""

import random
import re
from decimal import Decimal, localcontext

import numpy as np
import pytest
import sympy as sp

from derivations import ResNet, derive, selu
from derivations.calculus.closure import _in_factors
from derivations.notation.latex import latex
from derivations.notation.numbers import is_long, short
from derivations.notation.plain import plain
from derivations.notation.typst_formulas import typst
from derivations.sums import CoordinateSum

x = sp.Symbol("x", real=True)
LONG = sp.Rational(1, 3**90)


def test_digits_are_cut_and_not_rounded():
    draw = random.Random(0)
    with localcontext() as context:
        context.prec = 90
        for _ in range(300):
            number = sp.Rational(*(draw.randint(1, 10 ** draw.randint(1, 80)) for _ in range(2)))
            exact, shown = Decimal(number.p) / Decimal(number.q), Decimal(short(number).name.replace("…", ""))
            assert shown <= exact
            assert exact < shown + abs(shown) * Decimal("1e-11")
            assert ("…" in short(number).name) == (shown != exact)


@pytest.mark.parametrize(
    ("number", "text"),
    [(LONG, "1.14574263767…e-43"), (sp.Integer(10) ** 50, "1e50"), (sp.Rational(7**60, 5**60), "585709328.057…")],
)
def test_a_page_has_the_first_digits(number, text):
    assert plain(number * x) == f"{text}*x"
    mantissa, _, power = text.partition("e")
    assert latex(number * x).replace(" ", "").startswith(mantissa.replace("…", r"\ldots"))
    assert typst(-number) == "-" + mantissa.replace("…", " dots.h") + (f" dot 10^({power})" if power else "")


def test_what_is_short_is_written_out():
    for number in (sp.Rational(1, 3), sp.Rational("0.1234567890123456"), sp.Rational(10**20 + 1, 3**20)):
        assert not is_long(number)
        assert "…" not in plain(number * x)


def test_selu_fits_on_a_page_and_its_json_has_all_digits():
    # lines had fractions of 240 digits
    d = derive(ResNet(selu, width=2))
    for page in (str(d), d.latex(), d.typst()):
        assert not re.search(r"\d{26}", page)
    assert re.search(r"\d{26}", d.to_json())
    # the norm's line had 7.1e-187*(2.8e185*..., all in whole numbers
    assert max(map(int, re.findall(r"\d…e-?(\d+)", str(d))), default=0) < 10


def test_the_norm_under_selu_moves_as_by_hand():
    """dS has the drift (S/n) Σ (ψ'² + ψψ''), ψ = λx on one side and λα(eˣ - 1) on the other."""
    lam, alpha, state = 1.0507009873554804934, 1.6732632423543772848, np.array([0.7, -0.4])
    closure = derive(ResNet(selu, width=2)).norm.square
    e = np.exp(state[1])
    norm = lam**2 * (state[0] ** 2 + alpha**2 * (e - 1) ** 2)
    wanted = norm / 2 * lam**2 * (1 + alpha**2 * (e**2 + (e - 1) * e))
    drift = closure.drift[0].subs(closure.states[0], norm)
    found = float(drift.replace(lambda s: isinstance(s, CoordinateSum), lambda s: s.explicit([(v,) for v in state])))
    assert abs(found / wanted - 1) < 1e-12
    assert abs(found / wanted - 1.001) > 1e-4


def test_factors_with_long_coefficients_are_those_that_sympy_finds():
    a, b = sp.symbols("a b", real=True)
    long = sp.Rational(10**30 + 57, 10**29 + 319)

    def powers(product):
        factors = (f.as_base_exp() for f in sp.Mul.make_args(product) if f.free_symbols)
        return {sp.Poly(base, a, b, x).monic(): power for base, power in factors}

    for quotient in (
        (long * a - b) * (x - long) ** 2 * (x + 1) / (long * x**2 + 1),
        (a - long) * x,
        long * a**2 - x**2,
        (long * a * b - 1) * (b - long),
    ):
        lowest = sp.cancel(quotient)
        found = _in_factors(lowest, (a, b))
        assert sp.cancel(found - quotient) == 0
        assert powers(found) == powers(sp.factor(lowest))
        assert powers(found) != powers(sp.factor(lowest * (x - 1)))  # the control
