"""Laws of formulas as people type them: in a second, and right where algebra writes a noise out or its zeros are no numbers of radicals."""

import time

import numpy as np
import pytest

from derivations import ResNet, derive, parse_activation
from numerics import compile_law, distribution, solve_fokker_planck

#: Each took seconds once, for the reason that is said.
ONCE_SLOW = {
    "abs((x-((x-2))**3))": "the end is a root of a cubic",
    "(((x*x)-2)*min(tanh(relu(x)),1))": "the squared noise was written out, and lost half of its digits beside the end",
    "max((x)**2,max((sigmoid(x)+(2*x)),softplus((2+x))))": "maxima of numbers were compared by assumptions at each kink",
}


@pytest.mark.slow
@pytest.mark.parametrize("text", ONCE_SLOW)
def test_a_law_is_there_in_a_second(text):
    distribution(derive(ResNet(parse_activation("tanh"), width=1)))  # what the first law loads
    derived = derive(ResNet(parse_activation(text), width=1))
    start = time.process_time()
    found = distribution(derived)
    assert time.process_time() - start < 1.5  # 1 s asked of a machine of its own
    assert found.error < 1e-6


@pytest.mark.slow
def test_a_noise_that_algebra_wrote_out_keeps_its_digits_beside_its_zero():
    """Of (x² + x − 1)² as a polynomial half of the digits are left beside √5/2 − 1/2; the closed law tells."""
    derived = derive(ResNet(parse_activation("x**2+x-1"), width=1))
    assert derived.limit.covariance[0, 0].is_Add
    solved, exact = solve_fokker_planck(derived.limit, 1.0), compile_law(derived.law, x0=1.0, t=1.0)
    at = exact.ppf(np.linspace(0.001, 0.999, 41))
    assert np.abs(solved.cdf(at) - exact.cdf(at)).max() < solved.error < 1e-6
    # the control: a part in a thousand more time is seen
    later = compile_law(derived.law, x0=1.0, t=1.001)
    assert np.abs(solved.cdf(at) - later.cdf(at)).max() > 10 * solved.error


@pytest.mark.parametrize("size", [1e12, 1e100, 1e300])
def test_a_huge_start_is_as_good_on_either_side(size):
    """The noise 1 + x² is even; at 1e100 the angle of the start is π to all digits, and its sine was 0 from one side."""
    derived = derive(ResNet(parse_activation("1+x**2"), width=1))
    right, left = (distribution(derived, x0=sign * size) for sign in (1, -1))
    states = np.array([-3.0, -0.2, 0.4, 5.0])
    assert np.allclose(right.cdf(states), left.sf(-states), rtol=1e-12, atol=0)
    assert np.abs(right.cdf(states) - left.cdf(states)).min() > 1e-3  # the control: they are two laws


@pytest.mark.parametrize(
    ("text", "start", "reason"),
    [
        ("cosh(x)", 1e3, "the noise at the start x0 = 1000 leaves the range of doubles"),
        ("1+exp(x)", 1e3, "the noise at the start x0 = 1000 leaves the range of doubles"),
        ("1+x**4", 1e12, "come too close: 0 of 0 in the Lamperti coordinate"),
        ("1+x**4", -1e12, "come too close: 0 of 0 in the Lamperti coordinate"),
    ],
)
def test_a_start_beyond_what_a_grid_holds_is_refused_by_that_name(text, start, reason):
    derived = derive(ResNet(parse_activation(text), width=1))
    with pytest.raises(ValueError, match=reason):
        distribution(derived, x0=start)
    assert 0 < distribution(derived, x0=1.0).cdf(1.0) < 1  # the control


def test_a_moment_that_states_beyond_the_grid_carry_is_refused():
    """The mean stays 1, as there is no drift, which is known; by an integral, almost all of it at t = 100 is in states of a probability below 1e-11."""
    derived = derive(ResNet(parse_activation("gelu"), width=1))
    assert distribution(derived, t=1.0).mean() == pytest.approx(1.0, abs=1e-8)  # the control
    late = distribution(derived, t=100.0)
    assert 0 < late.cdf(late.median()) < 1
    assert late.mean() == 1
    for moment in (late.var, late.expect, lambda: late.expectation(lambda x: x)):
        with pytest.raises(ValueError, match="carried by states so improbable"):
            moment()
    # a function that does not go on growing has its mean, however improbable the states that it reads
    assert late.expect(lambda x: x > 1e3, points=[1e3]) == pytest.approx(late.sf(1e3), rel=1e-6)


@pytest.mark.slow
def test_waves_far_out_beside_an_end_at_a_finite_distance():
    """Of x(cos x + 2x) each wave up to infinity would want panels of its own; beyond the last one lies a millionth of the coordinate."""
    found = distribution(derive(ResNet(parse_activation("x*(cos(x)+2*x)"), width=1)), x0=0.7, t=0.5)
    assert found.error < 1e-6
    # Euler's steps of 1/X by Itô's formula, |.| at 0, which is not reached
    rng, count, steps = np.random.default_rng(1), 40_000, 500
    at = np.array([0.2, 0.3, 0.5, 0.8, 1.5])

    def paths(size):
        y, h = np.full(count, 1 / 0.7), 0.5 / steps
        for _ in range(steps):
            noise = size * (np.cos(1 / y) / y + 2 / y**2)
            y = np.abs(y - y**2 * noise * np.sqrt(h) * rng.standard_normal(count) + y**3 * noise**2 * h)
        return (1 / y <= at[:, np.newaxis]).mean(axis=1)

    bound = 4.5 * 0.5 / np.sqrt(count)
    assert np.abs(found.cdf(at) - paths(1.0)).max() < bound
    assert np.abs(found.cdf(at) - paths(1.15)).max() > bound  # the control
