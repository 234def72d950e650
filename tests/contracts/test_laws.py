"""Contract of the laws: one identity for all of them; adding a law adds no line here."""

import pytest
import sympy as sp

from derivations import (
    ResNet,
    depth_limit,
    derive,
    identity,
    leaky_relu,
    ornstein_uhlenbeck,
    relu,
    tanh,
    unstable_ornstein_uhlenbeck,
)
from derivations.calculus.kolmogorov import forward
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.laws import LAWS, Normal, recognise
from derivations.symbols import initial, state, time
from tests.helpers import equal_by_sampling, equal_symbolically

x, t, x0 = state, time, initial
every = pytest.mark.parametrize("law", LAWS, ids=lambda family: family.__name__, indirect=True)
POINTS = [
    {x: sp.Rational(3, 5), x0: sp.Rational(4, 7), t: sp.Rational(2, 3)},
    {x: sp.Rational(11, 9), x0: sp.Rational(1, 3), t: sp.Rational(7, 5)},
]


@pytest.fixture
def law(request):
    return request.param.example()


def at(expr, point):
    return sp.N(expr.subs(point), 50)


@pytest.mark.slow
@every
def test_is_proved(law):
    proof = law.prove()
    assert proof, str(proof)


@pytest.mark.slow
@every
@pytest.mark.parametrize("point", POINTS)
def test_density_solves_fokker_planck(law, point):
    density = law.pdf(x)
    if density == 0:
        pytest.skip("all the mass is in an atom")
    process = law.diffusion
    residual = forward(process, density)
    assert abs(at(residual / density, point)) < sp.Float("1e-35", 40)
    # the control: 1 % more noise is a different equation
    wrong = Diffusion(process.states, process.drift, process.covariance * sp.Rational(101, 100), process.domain)
    assert abs(at(forward(wrong, density) / density, point)) > sp.Float("1e-4", 40)


@every
@pytest.mark.parametrize("point", POINTS)
def test_logarithm_and_distribution_function_agree_with_the_density(law, point):
    density = law.pdf(x)
    if density == 0:
        assert law.logpdf(x) == -sp.oo
        return
    assert abs(at(law.logpdf(x) - sp.log(density), point)) < sp.Float("1e-35", 40)
    assert abs(at(sp.diff(law.cdf(x), x) / density - 1, point)) < sp.Float("1e-35", 40)


def test_brownian_motion():
    law = recognise(Diffusion((x,), [0], [[4]]))
    assert law.name == "Brownian motion"
    assert equal_symbolically(law.pdf(x), sp.exp(-((x - x0) ** 2) / (8 * t)) / sp.sqrt(8 * sp.pi * t))
    assert law.moment(2) == x0**2 + 4 * t


def test_geometric_brownian_motion_leaves_an_atom_for_relu():
    law = derive(ResNet(relu, width=1)).law
    start = sp.Symbol("p", positive=True)
    point = sp.Symbol("q", positive=True)
    expected = sp.exp(-((sp.log(point / start) + t / 2) ** 2) / (2 * t)) / (point * sp.sqrt(2 * sp.pi * t))
    assert equal_by_sampling(law.pdf(point, t, start), expected)
    (atom,) = law.atoms
    assert (atom.location, atom.mass) == (x0, 1)
    assert atom.condition == (x0 <= 0)
    assert law.pdf(x, t, sp.Integer(-2)) == 0
    assert law.pdf(sp.Integer(-1), t, sp.Integer(1)) == 0
    assert law.moment(2, t, sp.Integer(3)) == 9 * sp.exp(t)


@pytest.mark.slow
def test_both_branches_of_leaky_relu():
    law = derive(ResNet(leaky_relu(sp.Rational(1, 2)), width=1)).law
    assert law.moment(2, t, sp.Integer(1)) == sp.exp(t)
    assert law.moment(2, t, sp.Integer(-1)) == sp.exp(t / 4)
    assert law.pdf(sp.Integer(1), t, sp.Integer(-1)) == 0
    assert law.prove()


def test_moments_of_geometric_brownian_motion():
    law = derive(ResNet(identity, width=1)).law
    for k in range(5):
        assert equal_symbolically(law.moment(k, t, sp.Integer(2)), 2**k * sp.exp(sp.Rational(k * (k - 1), 2) * t))
    assert law.finite_until(sp.Integer(7)) == sp.oo


@pytest.mark.slow
def test_ornstein_uhlenbeck_transformed_by_h():
    law = derive(ResNet(ornstein_uhlenbeck, width=1)).law
    z, zeta = sp.symbols("z zeta", real=True)
    h = sp.sqrt(sp.pi) / 2 * sp.erfi(z)
    start = sp.sqrt(sp.pi) / 2 * sp.erfi(zeta)
    variance = (1 - sp.exp(-2 * t)) / 2
    expected = (
        sp.exp(-((z - zeta * sp.exp(-t)) ** 2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance) * sp.exp(-(z**2))
    )
    assert equal_by_sampling(law.pdf(h, t, start), expected)


@pytest.mark.slow
@pytest.mark.parametrize("p", [sp.Integer(2), sp.Integer(3), sp.Rational(3, 2)])
def test_time_at_which_a_moment_of_the_transformed_process_becomes_infinite(p):
    law = derive(ResNet(ornstein_uhlenbeck, width=1)).law
    last = law.finite_until(p)
    assert equal_symbolically(p * (1 - sp.exp(-2 * last)), 1)
    assert law.finite_until(sp.Integer(1)) == sp.oo
    assert equal_symbolically(law.finite_until(sp.Integer(2)), sp.log(2) / 2)
    assert law.moment(2, t=sp.Integer(1), x0=sp.Integer(0)) == sp.oo


@pytest.mark.slow
def test_the_unstable_process_stays_between_its_walls():
    law = derive(ResNet(unstable_ornstein_uhlenbeck, width=1)).law
    assert "unstable" in law.name
    assert law.prove()
    edge = sp.sqrt(sp.pi) / 2
    assert law.pdf(edge + 1, t, sp.Integer(0)) == 0
    assert [atom.condition for atom in law.atoms] == [x0 <= -edge, edge <= x0]


def test_recognised_from_coefficients_not_from_names():
    renamed = sp.Symbol("anything", real=True)
    law = derive(ResNet(sp.exp(sp.log(2)) * renamed, width=1)).law
    assert law.name == "geometric Brownian motion"
    law = recognise(Diffusion((x,), [-3 * (x - 1)], [[2]]))
    assert law.name == "Ornstein–Uhlenbeck process"
    assert equal_symbolically(law.moment(1), 1 + (x0 - 1) * sp.exp(-3 * t))
    assert equal_symbolically(law.moment(2) - law.moment(1) ** 2, (1 - sp.exp(-6 * t)) / 3)


def test_geometric_brownian_motion_with_drift():
    law = recognise(Diffusion((x,), [2 * x], [[9 * x**2]], sp.Interval.open(0, sp.oo)))
    assert law.name == "geometric Brownian motion"
    assert equal_symbolically(law.moment(1, t, sp.Integer(1)), sp.exp(2 * t))


def test_no_closed_form_is_said_and_the_potential_shown():
    with pytest.raises(NoClosedForm, match=r"U = .*tanh"):
        recognise(depth_limit(ResNet(tanh, width=1)))
    assert derive(ResNet(tanh, width=1)).law is None


def test_gaussian_start_of_brownian_motion():
    law = recognise(Diffusion((x,), [0], [[1]]))
    total = t + 3
    expected = sp.exp(-((x - 1) ** 2) / (2 * total)) / sp.sqrt(2 * sp.pi * total)
    assert equal_symbolically(law.pdf(x, t, Normal(1, 3)), expected)
    assert law.moment(2, t, Normal(1, 3)) == 4 + t


def test_gaussian_start_of_relu_keeps_its_frozen_half():
    law = derive(ResNet(relu, width=1)).law
    start = Normal(0, 1)
    assert law.pdf(sp.Integer(-1), t, start) == start.density(sp.Integer(-1))
    assert equal_symbolically(law.moment(2, t, start), sp.S.Half + sp.exp(t) / 2)
    assert law.moment(1, t, start) == 0


def test_a_start_outside_the_domain_is_refused():
    law = recognise(Diffusion((x,), [0], [[x**2]], sp.Interval.open(0, sp.oo)))
    with pytest.raises(DerivationError, match="outside the domain"):
        law.pdf(x, t, sp.Integer(-1))


@pytest.mark.slow
def test_a_proof_fails_for_a_wrong_law():
    law = recognise(Diffusion((x,), [-x], [[1]])).parts[0]
    true = law.components[0]
    object.__setattr__(law, "components", (type(true)(true.weight, true.mean, true.variance * sp.Rational(101, 100)),))
    assert not law.prove()


@pytest.mark.slow
@every
def test_the_proof_follows_the_transitions(law):
    if law.pdf(x) == 0:
        pytest.skip("all the mass is in an atom")
    (row,) = [c for c in law.prove().checks if c.statement.startswith("Chapman–Kolmogorov")]
    assert row.holds
