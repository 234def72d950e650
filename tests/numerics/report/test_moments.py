"""The pictures of limits that are followed by second moments: what is drawn of networks lies where the limit is, and not where its control is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import PreNormResNet, ResNet, ShapedMLP, derive, relu
from numerics.report import Start, moments, report
from numerics.statistics import Estimate
from numerics.validation.settings import settings_of
from numerics.validation.stages import silent


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(moments, "WIDTH", 64)
    monkeypatch.setattr(moments, "TIMES", 4)


def setting(recipe, t=1.0):
    (s,) = settings_of(derive(recipe), 1.0, t, None, None, 1)
    return s


def largest_gap(s) -> float:
    """In standard errors."""
    gaps = [(one.networks.mean - one.diffusion.mean[1:]) / one.networks.error for one in moments.courses(s, 0, silent)]
    return float(np.max(np.abs(gaps)))


@pytest.mark.parametrize("recipe", [ResNet(relu, width=sp.oo, inputs=2), PreNormResNet(relu, inputs=2)])
def test_networks_lie_on_the_line_of_a_flow_and_not_on_that_of_another(recipe):
    """ReLU's E V grows as (1 + t/2L)^L: at depth 64 a quarter of a percent below exp(t/2), a tenth of the standard error."""
    s = setting(recipe)
    assert largest_gap(s) < 4.5
    assert largest_gap(replace(s, limit=replace(s.limit, drift=s.limit.drift * 2))) > 4.5


@pytest.mark.slow
def test_networks_end_where_paths_of_a_joint_limit_do_and_not_where_others_do():
    s = moments._whole(setting(ShapedMLP(relu, c_plus=1, c_minus=0, inputs=2)), 0.5)
    assert s.layers(64) == 32

    def gaps(s):
        return [
            abs(Estimate.of(networks).value - Estimate.of(paths).value)
            / np.hypot(Estimate.of(networks).error, Estimate.of(paths).error)
            for _, networks, paths in moments.ends(s, 1, silent)
        ]

    assert max(gaps(s)) < 4.5
    assert max(gaps(replace(s, limit=replace(s.limit, drift=s.limit.drift * 2)))) > 4.5


@pytest.mark.slow
def test_the_page_of_a_flow_starts_with_its_picture():
    page = report(derive(ResNet(relu, width=sp.oo)), Start())
    assert page.main_figure is not None
    assert "points: means over 200 networks of depth and width 64" in page.main_figure.caption
    assert "would have noticed a flow 5\N{NO-BREAK SPACE}% too fast" in page.verdict
