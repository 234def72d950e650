"""Panels of a density are halved until Gauss's rule has settled, to rounding."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import wofz

from numerics.densities import panels
from numerics.densities.panels import settled_panels

WIDE, PLACE, WIDTH = stats.norm(0, 1), 1.03, 0.02


def off():
    """The relative error of the mass of a normal density with a bump 1/(1 + u²) on it, which no rule integrates exactly."""
    log_density = lambda s: WIDE.logpdf(s) + np.log1p(1 / (1 + ((s - PLACE) / WIDTH) ** 2))  # noqa: E731
    found = settled_panels(log_density, -np.inf, np.inf, 0.0, 1.0, (None, None), np.empty(0))
    # E 1/(1 + ((Z − c)/w)²) = w √(π/2) Re w((c + iw)/√2) by the function of Faddeeva
    return abs(found.total / (1 + WIDTH * np.sqrt(np.pi / 2) * wofz((PLACE + 1j * WIDTH) / np.sqrt(2)).real) - 1)


def test_panels_settle_to_rounding(monkeypatch):
    assert off() < 2e-15
    for tolerance, least in ((1e-10, 1e-14), (1e-4, 1e-6)):
        monkeypatch.setattr(panels, "_TOLERANCE", tolerance)
        assert off() > least


@pytest.mark.parametrize("tolerance", [1e-17, 0.0])
def test_less_than_rounding_is_not_met(monkeypatch, tolerance):
    count = lambda: settled_panels(WIDE.logpdf, -np.inf, np.inf, 0.0, 1.0, (None, None), np.empty(0)).edges.size  # noqa: E731
    settled = count()
    monkeypatch.setattr(panels, "_TOLERANCE", tolerance)
    assert count() > 1.05 * settled
