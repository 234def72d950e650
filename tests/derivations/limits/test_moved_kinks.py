"""Two kinks that the mean of a matrix moves, at infinite width, beside quadrature: h = B g(x) has mean E g and variance E g²."""

import pytest
import sympy as sp
from mpmath import mp

from derivations import Network, derive
from derivations.errors import DerivationError
from derivations.piecewise import pieces

INNER = {"abs": abs, "relu": lambda z: max(z, 0), "elu": lambda z: z if z > 0 else mp.expm1(z)}
OUTER = {
    "hardtanh": (lambda h: max(-1, min(1, h)), (-1, 1)),
    "hardswish": (lambda h: h * max(0, min(6, h + 3)) / 6, (-3, 3)),
    "softshrink": (lambda h: h - mp.mpf(1) / 2 if h > 0.5 else h + mp.mpf(1) / 2 if h < -0.5 else 0, (-0.5, 0.5)),
}


def _mean(f, centre, spread, kinks):
    cuts = sorted(cut for cut in ((kink - centre) / spread for kink in kinks) if abs(cut) < 12)
    return mp.quad(lambda z: f(centre + spread * z) * mp.npdf(z), [-12, *cuts, 12])


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("outer", OUTER)
def test_the_order_of_two_moved_kinks_is_known(inner, outer):
    flow = derive(Network(f"x + eps*A({outer}(B({inner}(x), mean=1)))", width=sp.oo)).limit
    g, (f, kinks) = INNER[inner], OUTER[outer]
    for k in (sp.Rational(3, 10), sp.Rational(5, 2)):
        spread = mp.sqrt(mp.mpf(k.p) / k.q)
        centre, square = _mean(g, 0, spread, (0,)), _mean(lambda z: g(z) ** 2, 0, spread, (0,))
        own = _mean(lambda h: f(h) ** 2, centre, mp.sqrt(square), kinks)
        rate = mp.mpf(str(sp.N(flow.drift[0].subs(flow.states[0], k), 15)))
        assert abs(rate / own - 1) < 1e-12
        wrong = _mean(
            lambda h: f(h) ** 2, centre, mp.sqrt(square - centre**2), kinks
        )  # the variance for the second moment
        assert abs(rate / wrong - 1) > 1e-3


@pytest.mark.parametrize("body", ["relu(x - average(abs(x)))*hardtanh(x)", "max(x, average(exp(x)))*relu(x - 1)"])
def test_kinks_that_pass_each_other_are_said_to(body):
    with pytest.raises(
        DerivationError, match="which comes first may change with K; no formula is derived over such a change"
    ):
        derive(Network(f"x + eps*A({body})", width=sp.oo))


def test_a_parameter_without_sign_is_asked_for_one():
    c, x = sp.Symbol("c", real=True), sp.Symbol("x", real=True)
    with pytest.raises(DerivationError, match="give the parameters a sign"):
        pieces(sp.Max(x, 0) + sp.Max(x - c, 0), x)
