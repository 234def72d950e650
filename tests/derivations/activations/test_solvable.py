"""Activations made from a potential: the engine finds the potential again in the network's limit."""

import pytest
import sympy as sp

from derivations import ResNet, depth_limit, recognise
from derivations.activations import activation_from_potential, ornstein_uhlenbeck
from derivations.errors import DerivationError
from derivations.symbols import state as x
from tests.helpers import equal_by_sampling, equal_symbolically

z = sp.Symbol("z", real=True)
k = sp.Symbol("k", positive=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("potential", "slope", "family"),
    [
        (sp.S.Zero, 0, "FreeLaw"),
        (sp.Integer(4), 0, "FreeLaw"),
        (sp.S.One, sp.Rational(1, 2), "FreeLaw"),
        (-(k**2), 0, "IntervalLaw"),
        (z**2 - 1, 0, "OrnsteinUhlenbeckLaw"),
        (4 * z**2 + 2, 0, "OrnsteinUhlenbeckLaw"),
        (z**2 + 3, 0, "MehlerLaw"),
        (sp.Rational(3, 4) / z**2, 0, "BesselLaw"),
        (-sp.Rational(1, 4) / z**2, 0, "BesselLaw"),
        ((k**2 - sp.Rational(1, 4)) / z**2, 0, "BesselLaw"),
    ],
    ids=str,
)
def test_the_engine_recognises_the_potential_that_was_asked_for(potential, slope, family):
    activation = activation_from_potential(potential, z, slope)
    law = recognise(depth_limit(ResNet(activation, width=1)))
    (part,) = [p for p in law.parts if p.name != "frozen"]
    assert type(part).__name__ == family
    found = part.form.potential
    if not potential.has(z):
        assert equal_symbolically(found, potential)
    elif family == "BesselLaw":
        assert equal_symbolically(part.index**2 - sp.Rational(1, 4), potential * z**2)
    else:  # a parabola in its own coordinate
        coordinate = part.coordinate if family == "MehlerLaw" else part.map
        values = {x: ["1/7", "-2/9"]}
        assert equal_by_sampling(found, potential.subs(z, coordinate), values, points=2)


@pytest.mark.slow
def test_a_parabolic_cylinder_activation_has_a_proved_law():
    law = recognise(depth_limit(ResNet(activation_from_potential(z**2 - sp.Rational(1, 2), z), width=1)))
    (part,) = [p for p in law.parts if p.name != "frozen"]
    assert part.prove()


def test_the_registered_activation_comes_out():
    assert equal_symbolically(activation_from_potential(z**2 - 1, z).expr, ornstein_uhlenbeck.expr)


@pytest.mark.parametrize(
    ("potential", "slope", "match"),
    [
        (z**4, 0, "no activation is known"),
        (sp.S.One, 2, "must stay positive"),
        (-1 / z**2, 0, "only for c"),
        (z**2 - 2, 0, "has a zero"),
        (sp.Rational(3, 4) / z**2, 1, "slope must be 0"),
        (sp.Symbol("q", real=True), 0, "sign of the potential"),
    ],
    ids=str,
)
def test_impossible_requests_are_refused(potential, slope, match):
    with pytest.raises(DerivationError, match=match):
        activation_from_potential(potential, z, slope)
