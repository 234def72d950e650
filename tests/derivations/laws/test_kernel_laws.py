"""The laws made from kernels: every example of the theory, known formulas, boundaries, and wrong laws refused."""

from dataclasses import replace

import pytest
import sympy as sp

from derivations import ResNet, derive
from derivations.activations import absolute, gelu, identity, leaky_relu, ornstein_uhlenbeck, silu, sine, softplus, tanh
from derivations.calculus.lamperti import LampertiForm
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.laws import LAWS, recognise
from derivations.laws.ends import End
from derivations.laws.family import Family
from derivations.laws.half_line import HalfLineLaw
from derivations.laws.interval import IntervalLaw
from derivations.laws.numbers import compiled
from derivations.laws.prefilter import derivatives_along, may_be
from derivations.laws.radial import BesselLaw, RadialLaw
from derivations.laws.recognition import PREFILTERS
from derivations.special import ErfiInv
from derivations.symbols import initial, state, time
from tests.helpers import equal_by_sampling, equal_symbolically

x, t, x0 = state, time, initial
HALF, UNIT = sp.Interval.open(0, sp.oo), sp.Interval.open(0, 1)
beta, b, c = sp.Symbol("beta", positive=True), sp.Symbol("b", real=True), sp.Symbol("c", real=True)
kappa, theta, sigma, delta = sp.symbols("kappa theta sigma delta", positive=True)


def driftless(noise, domain=sp.S.Reals, assuming=()):
    return recognise(Diffusion((x,), [0], [[noise**2]], domain), assuming)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "kinds"),
    [
        (x**2 + 1, ["IntervalLaw"]),
        (x**2 + 2 * x + 5, ["IntervalLaw"]),
        (x**2, ["HalfLineLaw", "FrozenLaw", "HalfLineLaw"]),
        (x * (1 - x), ["HalfLineLaw", "FrozenLaw", "FreeLaw", "FrozenLaw", "HalfLineLaw"]),
        (x**2 - 2, ["HalfLineLaw", "FrozenLaw", "FreeLaw", "FrozenLaw", "HalfLineLaw"]),
        (sp.exp(-x), ["BesselLaw"]),
        (sp.sqrt(sp.Abs(x)), ["BesselLaw", "FrozenLaw", "BesselLaw"]),
        (3 * x + 1, ["FreeLaw", "FrozenLaw", "FreeLaw"]),
    ],
    ids=str,
)
def test_families_are_recognised_on_every_interval(noise, kinds):
    assert [type(part).__name__ for part in driftless(noise).parts] == kinds


@pytest.mark.parametrize("activation", [tanh, gelu, sine, softplus], ids=str)
def test_no_closed_form_is_said_and_the_potential_shown(activation):
    d = derive(ResNet(activation, width=1))
    assert d.law is None
    assert "No closed form known" in [step.name for step in d.steps]
    assert any(str(line.left) == "U" for step in d.steps for line in step.lines)


@pytest.mark.parametrize("family", [kind for kind in LAWS if issubclass(kind, Family)], ids=lambda kind: kind.__name__)
def test_numbers_never_rule_out_the_family_that_fits(family):
    law = family.example()
    seen = derivatives_along(law.form)
    assert seen is not None
    assert may_be(PREFILTERS[type(law)], seen)


@pytest.mark.parametrize("activation", [tanh, gelu, silu, softplus], ids=str)
def test_numbers_rule_out_every_family_at_once(activation):
    seen = derivatives_along(LampertiForm(x, (sp.S.One, sp.Integer(2)), sp.S.Zero, activation(x)))
    assert seen is not None
    assert not any(may_be(rule, seen) for rule in PREFILTERS.values())


@pytest.mark.slow
def test_a_quadratic_with_symbols_is_decided_by_its_discriminant():
    noise = x**2 + b * x + c
    with pytest.raises(DerivationError, match=r"b\*\*2 - 4\*c.*assuming"):
        driftless(noise)
    (part,) = driftless(noise, assuming=[b**2 < 4 * c]).parts
    assert isinstance(part, IntervalLaw)
    assert equal_symbolically(part.form.potential, b**2 / 4 - c)
    assert equal_by_sampling(part.chart.length, 2 * sp.pi / sp.sqrt(4 * c - b**2), {b: [0, 1], c: [1, "5/3"]}, points=2)
    parts = driftless(noise, assuming=[b**2 > 4 * c]).parts
    assert [type(p).__name__ for p in parts[::2]] == ["HalfLineLaw", "FreeLaw", "HalfLineLaw"]


@pytest.mark.parametrize(
    "activation", [identity, leaky_relu(sp.Rational(1, 3)), absolute, 2 * x + 1, x**2, x * (1 - x)], ids=str
)
def test_the_logarithm_of_the_density_is_real_on_every_interval(activation):
    for part in (p for p in derive(ResNet(activation, width=1)).law.parts if p.name != "frozen"):
        low, high = part.diffusion.domain.inf, part.diffusion.domain.sup
        near, far = (high - sp.Rational(3, 4), high - 2) if high.is_finite else (low + sp.Rational(3, 4), low + 2)
        if low.is_finite and high.is_finite:
            near, far = low + (high - low) / 3, low + (high - low) * sp.Rational(3, 4)
        values = [sp.N(e.subs({x: near, x0: far, t: sp.Rational(2, 3)}), 25) for e in (part.logpdf(x), part.pdf(x))]
        assert values[0].is_real
        assert abs(values[0] - sp.log(values[1])) < 1e-20


def test_the_bounded_martingale_is_transformed_by_the_hyperbolic_tangent():
    (law,) = driftless(1 - x**2, sp.Interval.open(-1, 1)).parts
    z, back = law.inverse
    assert equal_by_sampling(back, sp.tanh(z), {z: ["1/3", -2]}, points=2)
    assert equal_by_sampling(law.map, sp.atanh(x), {x: ["1/3", "-4/5"]}, points=2)
    assert equal_symbolically(law.moment(1), x0)


@pytest.mark.slow
def test_the_bounded_martingale_is_proved():
    assert driftless(1 - x**2, sp.Interval.open(-1, 1)).prove()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("process", "assuming"),
    [
        (Diffusion((x,), [0], [[(x**2 + b * x + c) ** 2]]), [b**2 < 4 * c]),
        (Diffusion((x,), [0], [[x ** (2 * beta)]], HALF), [beta < 1]),
        (Diffusion((x,), [0], [[x ** (2 * beta)]], HALF), [beta > 1]),
        (Diffusion((x,), [kappa * (theta - x)], [[sigma**2 * x]], HALF), []),
        (Diffusion((x,), [b * x], [[sigma**2 * x**2]], HALF), []),
        (Diffusion((x,), [kappa * (theta - x)], [[sigma**2]]), []),
        (Diffusion((x,), [(delta - 1) / (2 * x)], [[1]], HALF), [delta > 1]),
        (Diffusion((x,), [0], [[sp.exp(-2 * kappa * x)]]), []),
    ],
    ids=["quadratic", "power below one", "power above one", "CIR", "GBM", "OU", "Bessel", "exponential"],
)
def test_symbolic_families_are_proved(process, assuming):
    assert recognise(process, assuming).parts[0].prove()


def test_a_power_on_both_sides_of_one():
    below, above = driftless(x**beta, HALF, [beta < 1]).parts[0], driftless(x**beta, HALF, [beta > 1]).parts[0]
    assert equal_symbolically(below.index, 1 / (2 * (beta - 1)))
    assert equal_symbolically(above.index, 1 / (2 * (beta - 1)))
    assert below.absorbed
    assert not above.absorbed
    assert below.is_martingale
    assert above.is_martingale is False
    (atom,) = below.atoms
    assert atom.location == 0
    with pytest.raises(DerivationError, match="beta - 1"):
        driftless(x**beta, HALF)


def test_the_square_is_a_strict_local_martingale():
    (law,) = driftless(x**2, HALF).parts
    start = sp.Symbol("p", positive=True)
    # 1/X is the radius of Brownian motion in space: E X = x0 erf(1/(x0 √(2t)))
    assert equal_by_sampling(law.moment(1, t, start), start * sp.erf(1 / (start * sp.sqrt(2 * t))))
    assert law.is_martingale is False
    assert (law.finite_until(sp.Integer(2)), law.finite_until(sp.Integer(3))) == (sp.oo, 0)
    assert law.moment(3) == sp.oo
    assert "strict local martingale" in str(law.description)
    # the control: a martingale is not called one that is not
    assert driftless(x).parts[-1].moment(1) == x0


def test_the_description_says_which_way_the_mean_goes():
    left, _, right = driftless(x**2).parts
    assert "its mean rises" in str(left.description)
    assert "its mean falls" in str(right.description)
    (planar,) = driftless(sp.exp(-x)).parts
    assert "its mean rises" in str(planar.description)
    values = {x0: sp.Rational(1, 3), t: sp.S.One}
    assert sp.N(planar.moment(1).subs(values)) > sp.Rational(1, 3)
    assert sp.N(right.moment(1).subs(values)) < sp.Rational(1, 3)


def test_one_plus_the_square_never_explodes_and_has_a_stationary_law():
    (law,) = driftless(1 + x**2).parts
    assert law.ends == (End.UNATTAINABLE, End.UNATTAINABLE)
    assert law.atoms == ()
    assert equal_by_sampling(law.stationary, 2 / (sp.pi * (1 + x**2) ** 2))
    value = sp.N(law.pdf(x, sp.Integer(40), sp.Rational(1, 3)).subs(x, sp.Rational(1, 2)), 20)
    assert abs(value / law.stationary.subs(x, sp.Rational(1, 2)) - 1) < 1e-15


def test_both_theta_series_are_the_same_function():
    (law,) = driftless(1 + x**2).parts
    *_, (theta_node, images), (_, waves) = law.definitions
    tau, a, start = theta_node.args[1:]
    points = (sp.Rational(1, 9), sp.Rational(1, 5), sp.Rational(2, 3)), (sp.S.One, sp.Rational(6, 7), sp.Rational(1, 8))
    for at in (dict(zip((tau, a, start), point, strict=True)) for point in points):
        values = [_partial(images, at), _partial(waves, at), sp.N(theta_node.subs(at), 30)]
        assert max(values) - min(values) < sp.Rational(1, 10**25)


def _partial(series, at):
    (index, low, _) = series.limits[0]
    first = -14 if low == -sp.oo else 1
    return sp.N(sp.Add(*(series.function.subs(at).subs(index, k) for k in range(first, 15))), 30)


def test_brownian_motion_stopped_at_a_wall():
    (law,) = recognise(Diffusion((x,), [0], [[1]], HALF)).parts
    (atom,) = law.atoms
    start = sp.Symbol("p", positive=True)
    assert equal_by_sampling(atom.mass.subs(x0, start), sp.erfc(start / sp.sqrt(2 * t)))  # the reflection principle
    assert equal_symbolically(sp.expand_func(law.moment(1, t, start)), start)


def test_reflection_where_the_drift_points_inward():
    (law,) = recognise(Diffusion((x,), [1], [[4 * x]], HALF)).parts  # the square of Brownian motion
    assert law.end is End.REFLECTING
    assert law.atoms == ()
    y = sp.sqrt(x)
    expected = sum(sp.exp(-((y - s * sp.sqrt(x0)) ** 2) / (2 * t)) for s in (1, -1)) / (2 * y * sp.sqrt(2 * sp.pi * t))
    assert equal_by_sampling(law.pdf(x), expected, {x: ["1/3", 2], x0: ["3/4", "1/5"], t: ["1/2", 1]}, points=2)


@pytest.mark.slow
def test_cox_ingersoll_ross():
    (law,) = recognise(Diffusion((x,), [kappa * (theta - x)], [[sigma**2 * x]], HALF)).parts
    decay = sp.exp(-kappa * t)
    assert equal_symbolically(law.moment(1), x0 * decay + theta * (1 - decay))
    variance = sigma**2 / kappa * (x0 * (decay - decay**2) + theta / 2 * (1 - decay) ** 2)
    assert equal_symbolically(law.moment(2) - law.moment(1) ** 2, variance)
    shape, rate = 2 * kappa * theta / sigma**2, 2 * kappa / sigma**2
    gamma = rate**shape * x ** (shape - 1) * sp.exp(-rate * x) / sp.gamma(shape)
    assert equal_by_sampling(
        law.stationary, gamma, {x: ["1/3", 2], kappa: [1, "3/2"], theta: ["1/2", 2], sigma: [1, "4/3"]}, points=2
    )
    assert law.name == "Cox–Ingersoll–Ross process"


def test_bessel_processes_given_directly():
    law = recognise(Diffusion((x,), [(delta - 1) / (2 * x)], [[1]], HALF), [delta > 1]).parts[0]
    assert type(law) is BesselLaw
    assert equal_symbolically(2 + 2 * law.index, delta)
    squared = recognise(Diffusion((x,), [delta], [[4 * x]], HALF)).parts[0]
    assert equal_symbolically(squared.moment(1), x0 + delta * t)
    (plane,) = recognise(Diffusion((x,), [1 / (2 * x)], [[1]], HALF)).parts
    assert plane.index == 0
    assert plane.atoms == ()


def test_constants_stay_factored():
    """A coordinate read off the potential carries powers of π; its constant is read off the noise again."""
    speed = 5 * (sp.sqrt(3) / sp.pi + 2) / 27
    law = recognise(Diffusion((x,), [speed], [[speed * x]], HALF))
    assert law.name == "squared Bessel process"
    assert equal_by_sampling(law.moment(1), x0 + speed * t, (t, x0))
    assert law.moment(1).coeff(x0) == law.moment(2).coeff(x0, 2) == 1
    assert sp.count_ops(law.moment(2)) < 40
    assert sp.count_ops(law.pdf(x)) < 80


def test_the_logarithm_of_a_planar_radius():
    (law,) = driftless(sp.exp(-x)).parts
    assert law.index == 0
    mean = compiled((x0, t), law.moment(1))(sp.Rational(1, 2), sp.Rational(3, 4))
    xi = sp.Dummy("xi", real=True)
    direct = compiled((x0, t), sp.Integral(xi * law.pdf(xi), (xi, -12, 8)))(sp.Rational(1, 2), sp.Rational(3, 4))
    assert abs(mean - direct) < 1e-9


WRONG = {
    "a stop that reflects": lambda: replace(HalfLineLaw.example(), end=End.REFLECTING),
    "another index": lambda: replace(driftless(x**3, HALF).parts[0], index=sp.Rational(1, 3)),
    "an end that is left": lambda: replace(driftless(sp.cbrt(x), HALF).parts[0], absorbed=False),
    "another pull": lambda: replace(
        recognise(Diffusion((x,), [3 - 2 * x], [[x]], HALF)).parts[0], pull=sp.Rational(11, 10)
    ),
    "an end that is not reached": lambda: replace(
        recognise(Diffusion((x,), [0], [[1]], UNIT)).parts[0], ends=(End.UNATTAINABLE, End.ABSORBING)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_law_is_refused(name):
    assert not WRONG[name]().prove()


@pytest.mark.parametrize(
    ("process", "match"),
    [
        (Diffusion((x,), [0], [[x ** (2 * beta)]]), "no real number|domain"),
        (Diffusion((x,), [1], [[0]]), "no noise"),
        (Diffusion((x,), [0], [[(sp.Abs(x) + 1) ** 2]]), "crosses a kink"),
        (Diffusion((x,), [0], [[t * x]], HALF), "depend on time"),
    ],
    ids=["unreal", "degenerate", "kink", "time"],
)
def test_bad_coefficients_are_refused(process, match):
    with pytest.raises(DerivationError, match=match):
        recognise(process)


def test_a_start_outside_the_domain_is_refused():
    law = driftless(x**2, HALF)
    with pytest.raises(DerivationError, match="outside the domain"):
        law.pdf(x, t, sp.Integer(-1))


@pytest.mark.slow
def test_front_door_prints_potential_map_series_and_proof():
    text = str(derive(ResNet(x**2 + 1, width=1)))
    for wanted in (
        "U = -1",
        "X_t = -cot(Y_t)",
        "(atan(x) + pi/2)/pi",
        "Sum(",
        "10. Proof",
        "Each statement was checked",
    ):
        assert wanted in text, wanted


SETTLING = {
    "Ornstein–Uhlenbeck": lambda: recognise(Diffusion((x,), [-2 * x], [[1]])),
    "erfi": lambda: derive(ResNet(ornstein_uhlenbeck, width=1)).law,
    "theta series": lambda: driftless(1 + x**2),
    "CIR": lambda: recognise(Diffusion((x,), [3 - 2 * x], [[x]], HALF)),
}


@pytest.mark.parametrize("name", SETTLING)
def test_the_stationary_law_is_stationary_and_has_mass_one(name):
    law = SETTLING[name]()
    density, process = law.stationary, law.diffusion
    (domain,) = (part.form.interval for part in law.parts)
    points = [sp.Rational(1, 3), sp.Rational(7, 5)]

    def flux(density):
        value = process.drift[0] * density - sp.diff(process.covariance[0] * density, x) / 2
        return max(abs(sp.N((value / density).subs(x, point), 30)) for point in points)

    assert flux(density) < sp.Rational(1, 10**25)
    assert flux(density * sp.exp(x / 50)) > sp.Rational(1, 10**3)  # the control
    if not density.has(ErfiInv):  # its mass is that of a Gaussian in z
        assert abs(compiled((t,), sp.Integral(density, (x, *domain)))(1) - 1) < 1e-12


def test_where_nothing_settles_there_is_no_stationary_law():
    assert recognise(Diffusion((x,), [x], [[1]])).stationary is None
    assert recognise(Diffusion((x,), [0], [[1]])).stationary is None
    with pytest.raises(DerivationError, match="depends on the start"):
        _ = derive(ResNet(identity, width=1)).law.stationary


def test_martingales_differ_from_strict_local_ones():
    for activation in (sp.Integer(2), identity, ornstein_uhlenbeck, leaky_relu(sp.Rational(1, 3))):
        assert derive(ResNet(activation, width=1)).law.is_martingale is True
    assert derive(ResNet(1 + x**2, width=1)).law.is_martingale is False
    assert recognise(Diffusion((x,), [-x], [[1]])).is_martingale is None


def test_laws_of_the_radius_know_their_family():
    assert issubclass(BesselLaw, RadialLaw)
    with pytest.raises(NoClosedForm, match="not c/y²"):
        BesselLaw.recognise(HalfLineLaw.example().form)
