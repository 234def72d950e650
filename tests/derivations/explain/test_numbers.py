"""Numbers of many digits are shown by their first ones, and kept whole where they are read by programs."""

import random
import re
from decimal import Decimal, localcontext

import pytest
import sympy as sp

from derivations import ResNet, derive, selu
from derivations.notation.latex import latex
from derivations.notation.numbers import is_long, short
from derivations.notation.plain import plain
from derivations.notation.typst_formulas import typst

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
