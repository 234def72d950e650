"""How fine the trapezoidal rule becomes: what it then resolves, and how often it asks."""

import mpmath
import pytest

from derivations.errors import DerivationError
from derivations.gaussian import integrate
from derivations.gaussian.integrate import normal_mean


class Lorentzian:
    """1/(1 + a² z²), which has poles at ±i/a, and how often it was asked."""

    def __init__(self, a):
        self.a, self.asked = a, 0

    def __call__(self, z):
        self.asked += 1
        return 1 / (1 + (self.a * z) ** 2)

    @property
    def exact(self):
        a = mpmath.mpf(self.a)
        return mpmath.sqrt(mpmath.pi / 2) / a * mpmath.exp(1 / (2 * a * a)) * mpmath.erfc(1 / (a * mpmath.sqrt(2)))


def mean(function):
    return normal_mean(function, mpmath.mpf(0), mpmath.mpf(1))


@pytest.mark.slow
def test_poles_at_a_four_hundredth_of_a_deviation_are_resolved_within_seconds(monkeypatch):
    with mpmath.workdps(30):
        near = Lorentzian(400)
        assert abs(mean(near) / near.exact - 1) < 1e-28
        assert near.asked < 300_000  # once more would take twice as many
        monkeypatch.setattr(integrate, "_LEVELS", integrate._LEVELS - 1)
        with pytest.raises(DerivationError, match="did not settle"):
            mean(Lorentzian(400))
