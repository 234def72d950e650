"""Moment hierarchies: exact where they close, by a named assumption where they do not."""

import pytest
import sympy as sp

from derivations import ResNet, depth_limit, identity, recognise, relu
from derivations.calculus.moment_closures import CLOSURES, Gaussian, LogNormal, ZeroCumulant
from derivations.calculus.moments import moment_equations, moment_symbol
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm, NotClosed
from derivations.symbols import initial, time
from tests.helpers import equal_symbolically

x, y = sp.symbols("x y", real=True)
a, s, v = sp.symbols("a s v", positive=True)
quartic = Diffusion((x,), [x - x**3], [[1]])


@pytest.mark.parametrize("process", [Diffusion((x,), [-x], [[1]]), Diffusion((x,), [0], [[1]])])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_hierarchy_agrees_with_the_law(process, order):
    found = moment_equations(process, order).solve({x: initial})[(order,)]
    assert equal_symbolically(sp.expand(found), sp.expand(recognise(process).moment(order)))


def test_every_equation_is_the_generator():
    heston = Diffusion((x, y), [-y / 2, a * (1 - y)], [[y, s * y / 3], [s * y / 3, s**2 * y]])
    equations = moment_equations(heston, 2)
    assert equations.closure is None
    assert equations.assumption == ""
    solved = equations.solve({x: 0, y: v})
    rules = {moment_symbol(index): value for index, value in solved.items()}
    for index, right in zip(equations.indices, equations.right_side, strict=True):
        left = sp.diff(solved[index], time)
        assert equal_symbolically(sp.expand(left - right.subs(rules)), 0)
        assert equal_symbolically(solved[index].subs(time, 0), 0 ** index[0] * v ** index[1])


def test_linear_network_conserves_its_mean_and_grows_in_square():
    limit = depth_limit(ResNet(identity, width=2)).explicit
    solved = moment_equations(limit, 2).solve(dict(zip(limit.states, (1, 2), strict=True)))
    # ‖X‖² grows like exp(t): E x₁² + E x₂² = 5 exp(t)
    assert equal_symbolically(solved[(2, 0)] + solved[(0, 2)], 5 * sp.exp(time))
    assert solved[(1, 1)] == 2


def test_open_hierarchies_need_a_name():
    with pytest.raises(NotClosed, match="give a closure"):
        moment_equations(quartic, 2)
    with pytest.raises(NotClosed, match="no polynomial"):
        moment_equations(Diffusion((x,), [sp.sin(x)], [[1]]), 2)
    with pytest.raises(NotClosed, match="no polynomial"):
        moment_equations(depth_limit(ResNet(relu, width=1)), 2)
    with pytest.raises(DerivationError, match="whole number"):
        moment_equations(quartic, 0)
    with pytest.raises(DerivationError, match="order 4 was asked for"):
        moment_equations(quartic, 4, Gaussian())


@pytest.mark.parametrize("closure", [kind() for kind in CLOSURES], ids=lambda c: c.name)
def test_a_closure_says_what_it_assumes(closure):
    equations = moment_equations(quartic, 2, closure)
    assert equations.assumption == closure.assumption != ""
    assert equations.right_side.free_symbols <= set(equations.symbols)
    with pytest.raises(NoClosedForm, match="not linear"):
        equations.solve({x: 1})


@pytest.mark.parametrize("index", [(3,), (4,), (5,), (6,)])
def test_gaussian_closure_is_exact_for_gaussians(index):
    mean, variance = sp.Rational(2, 3), sp.Rational(5, 4)
    z = sp.Symbol("z", real=True)

    def moment(i):  # from the moment generating function
        return sp.diff(sp.exp(mean * z + variance * z**2 / 2), z, i[0]).subs(z, 0)

    assert sp.expand(Gaussian().replace(index, moment) - moment(index)) == 0
    # control: the log-normal closure is not
    assert sp.expand(LogNormal().replace(index, moment) - moment(index)) != 0


@pytest.mark.parametrize("index", [(3,), (4,), (2, 1), (1, 2), (2, 2)])
def test_lognormal_closure_is_exact_for_lognormals(index):
    c = sp.Matrix([[sp.Rational(1, 2), sp.Rational(1, 5)], [sp.Rational(1, 5), sp.Rational(1, 3)]])

    def moment(i):
        alpha = sp.Matrix([*i, 0][:2])
        return sp.exp(alpha.dot(sp.Matrix([1, 2])) + (alpha.T * c * alpha)[0] / 2)

    assert sp.powsimp(LogNormal().replace(index, moment) / moment(index)) == 1
    assert abs(sp.N(Gaussian().replace(index, moment) / moment(index) - 1)) > sp.Rational(1, 100)


def test_zero_cumulants_of_three_states_is_wicks_rule():
    def centred(index):
        return sp.S.Zero if sum(index) == 1 else sp.Symbol("c" + "".join(map(str, index)))

    fourth = ZeroCumulant(2).replace((2, 1, 1), centred)
    c = {name: sp.Symbol(f"c{name}") for name in ("200", "011", "110", "101")}
    assert sp.expand(fourth - (c["200"] * c["011"] + 2 * c["110"] * c["101"])) == 0


@pytest.mark.slow
def test_higher_cumulants_get_closer():
    # the stationary law of dX = (X − X³) dt + dB is exp(x² − x⁴/2): E X² from closures of growing order
    exact = sp.N(sp.Integral(x**2 * sp.exp(x**2 - x**4 / 2), (x, -sp.oo, sp.oo))) / sp.N(
        sp.Integral(sp.exp(x**2 - x**4 / 2), (x, -sp.oo, sp.oo))
    )
    off = []
    for order in (2, 4):
        equations = moment_equations(quartic, 2, ZeroCumulant(order))
        even = {m: 0 for m, i in zip(equations.symbols, equations.indices, strict=True) if i[0] % 2}
        rows = [r.subs(even) for r, i in zip(equations.right_side, equations.indices, strict=True) if i[0] % 2 == 0]
        unknowns = [m for m in equations.symbols if m not in even]
        roots = sp.solve(rows, unknowns, dict=True)
        values = [sp.N(root[moment_symbol((2,))]) for root in roots]
        off.append(min(abs(value - exact) for value in values if abs(sp.im(value)) < sp.Rational(1, 10**9)))
    assert off[1] < off[0]


def test_a_start_must_be_complete():
    heston = Diffusion((x, y), [0, 0], [[1, 0], [0, 1]])
    with pytest.raises(DerivationError, match="missing y"):
        moment_equations(heston, 1).solve({x: 0})
