"""Starts at which the noise is far larger than it is elsewhere, and ends beside which a formula loses its digits."""

import mpmath
import numpy as np
import pytest
import sympy as sp

from derivations import ResNet, derive, parse_activation
from derivations.diffusion import Diffusion
from numerics import distribution, solve_fokker_planck
from numerics.fokker_planck import coordinate
from numerics.fokker_planck.coefficients import Coefficients
from numerics.fokker_planck.coordinate import Coordinate

x = sp.Symbol("x", real=True)


def quartic(start):
    """The Lamperti coordinate of the noise 1 + x⁴ from a start."""
    coefficients = Coefficients(np.zeros_like, lambda x: (1 + x**4) ** 2, -np.inf, np.inf)
    return Coordinate(coefficients, start, (10.0, 10.0))


@pytest.mark.parametrize("start", [20.0, -300.0, 1e6])
def test_panels_follow_the_noise_where_it_is_far_smaller_than_at_the_start(start):
    def length(beyond):
        return float(mpmath.quad(lambda s: s**2 / (s**4 + 1), [0, 1 / mpmath.mpf(beyond)]))

    left, right = quartic(start).ends
    near, far = (right, -left) if start > 0 else (-left, right)
    assert near == pytest.approx(length(abs(start)), rel=1e-9)
    assert near + far == pytest.approx(np.pi / np.sqrt(2), rel=1e-12)


def test_twelve_halvings_do_not_follow_it(monkeypatch):
    monkeypatch.setattr(coordinate, "_MORE_HALVINGS", coordinate._HALVINGS)
    left, right = quartic(1e6).ends
    assert abs(right - left - np.pi / np.sqrt(2)) > 1


@pytest.mark.parametrize(("text", "start"), [("1+x**4", 1e3), ("sqrt(1+x**4)", 1e12)])
def test_starts_of_either_sign_are_refused_alike(text, start):
    limit = derive(ResNet(parse_activation(text), width=1)).limit
    said = []
    for sign in (1, -1):
        with pytest.raises(ValueError, match="come too close") as refused:
            distribution(limit, x0=sign * start)
        said.append(str(refused.value))
    assert said[0] == said[1]


def test_a_law_from_afar_is_that_of_the_inverse_state():
    # with c = 1/3 the state runs over (−∞, ∞) either way; 1/x of noise 1 + x⁴ has noise y² + y⁻² and drift (1 + y⁴)²/y³
    direct = solve_fokker_planck(Diffusion((x,), [0], [[(1 + x**4) ** 2]]), 20.0, t=1e-3)
    y = sp.Symbol("y", positive=True)
    process = Diffusion((y,), [(1 + y**4) ** 2 / y**5], [[(y**4 + 1) ** 2 / y**4]], domain=sp.Interval.open(0, sp.oo))
    inverse = solve_fokker_planck(process, 1 / 20, t=1e-3)
    q = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(1 / inverse.ppf(1 - q), direct.ppf(q), rtol=1e-6)
    assert abs(direct.ppf(0.1) / 1.63892318 - 1) > 1e-5  # where the middle was passed over in one panel


def by_differences(law):
    """The entropy from probabilities of many small cells."""
    states = law.ppf(np.linspace(1e-7, 1 - 1e-7, 4_001))
    p, width = np.diff(law.cdf(states)), np.diff(states)
    return -float(np.sum(p * np.log(p / width)))


@pytest.mark.parametrize(("text", "start", "time"), [("hardtanh", 3.0, 10.0), ("elu", -1.0, 10.0), ("tanh", 1.0, 1.0)])
def test_entropy_of_a_grid_law_is_finite_and_that_of_its_cells(text, start, time):
    law = distribution(derive(ResNet(parse_activation(text), width=1)).limit, x0=start, t=time)
    assert law.entropy() == pytest.approx(by_differences(law), abs=2e-3)
    assert law.entropy() != pytest.approx(law.entropy() + np.log(1.01), abs=2e-3)


def test_formulas_of_pieces_are_factored_so_that_panels_do_not_halve_on_rounding():
    law = distribution(derive(ResNet(parse_activation("sparse_sigmoid"), width=1)).limit, x0=0.0, t=100.0)
    assert law.mean() == pytest.approx(0.0, abs=1e-6)  # a martingale: 3e-5 from the formula multiplied out
    assert len(law.parts[-1].coordinate.edges) < 500  # thousands from the formula multiplied out


def test_fast_oscillations_are_followed_by_many_panels_at_once():
    # cos x⁴ turns 20 000 times up to x = 10; panels were halved one by one (13 s), and where there were more than 4000 the table ended
    coefficients = Coefficients(np.zeros_like, lambda x: (2 + np.cos(x**4)) ** 2, -np.inf, np.inf)
    found = Coordinate(coefficients, 0.0, (0.1, 6.0))
    assert found.range[1] > 8
    x = np.linspace(0.0, 8.0, 4_000_001)
    here = 1 / (2 + np.cos(x**4))
    assert found.forward(np.array([8.0]))[0] == pytest.approx(float(np.sum(here[1:] + here[:-1]) * 1e-6), abs=1e-6)


def test_noise_that_changes_more_often_than_can_be_followed_is_refused(monkeypatch):
    monkeypatch.setattr(coordinate, "_PANELS", 30)
    coefficients = Coefficients(np.zeros_like, lambda x: (2 + np.cos(x**4)) ** 2, -np.inf, np.inf)
    with pytest.raises(ValueError, match="changes more often than 30 panels"):
        _ = Coordinate(coefficients, 0.0, (0.1, 6.0)).sides


@pytest.mark.parametrize(("text", "start", "time"), [("gelu(x)", 0.4, 20.0), ("tanh(x)", -1.5, 3.0)])
def test_a_martingale_keeps_its_mean_where_the_grid_leaves_states_out(text, start, time):
    law = distribution(derive(ResNet(parse_activation(text), width=1)), x0=start, t=time)
    assert law.mean() == start
    if text == "tanh(x)":
        assert law.expectation(lambda s: s) == pytest.approx(start, abs=1e-6)
    else:
        with pytest.raises(ValueError, match="the grid leaves them out"):
            law.moment(2)


def test_the_mean_of_a_strict_local_martingale():
    # a chain on 8001 states has 0.679916 at t = 1/2, with what its last state took left out
    text = "1 + x**2*tanh(x)"
    law = distribution(derive(ResNet(parse_activation(text), width=1)), x0=1.2, t=0.5)
    assert law.mean() == pytest.approx(0.67992, abs=2e-5)
    assert abs(law.mean() - 1.2) > 0.5


@pytest.mark.parametrize(("start", "time"), [(-1.5, 3.0), (1.2, 0.5)])
def test_a_mean_beyond_the_range_of_doubles_is_refused(start, time):
    # ∫ x/φ² < ∞, so that part of the mean is at infinity; -3.3e90 and 1.1436 were given, of which the first is rounding times 1e117
    law = distribution(derive(ResNet(parse_activation("x*log(1 + x**2)"), width=1)), x0=start, t=time)
    with pytest.raises(ValueError, match="so improbable that the grid leaves them out"):
        law.mean()
    assert np.isfinite(law.median())
