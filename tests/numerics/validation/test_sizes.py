"""How many networks the comparison with a limit draws at each size."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import sympy as sp

from derivations import GatedBlock, ResNet, derive, relu
from derivations.diffusion import Flow
from numerics import validate
from numerics.validation.base import QUICK_SCALE, SCALE, spawn
from numerics.validation.comparison import _finite_size
from numerics.validation.equation import _DrawnOnce, _falls, equation_of_networks
from numerics.validation.extrapolation import PILOT
from numerics.validation.flows import flow_of_networks
from numerics.validation.scores import most_powerful
from numerics.validation.settings import settings_of
from numerics.validation.subjects import Setting


def made_up(spread, right=2.0, second=150.0):
    """Networks whose mean lacks a term of the second order in one over the size, so that the smallest sizes do not do."""
    q, drawn = sp.Symbol("q"), []

    def networks(size, samples, seed):
        drawn.append((size, samples))
        noise = np.random.default_rng(spawn(seed, 1)[0]).standard_normal((samples, 1, 1))
        return right + 1.0 / size + second / size**2 + spread(size) * noise

    s = SimpleNamespace(
        limit=Flow((q,), sp.Matrix([q])),
        solutions=lambda: (np.array([right]), np.array([1.05 * right])),
        networks=networks,
        sized=str,
        smallest=16,
        ratio=2,
        depth=None,
        samples=None,
        cost=lambda size: float(size * size),
    )
    (row,) = flow_of_networks(s, 0)
    return row, drawn[1:]


def test_no_more_networks_than_the_error_asks():
    row, drawn = made_up(lambda size: 4.0 / np.sqrt(size))
    assert len(drawn) >= 4
    assert row.control_rejected
    assert row.verdict(row.test.p_value) == "agrees"
    assert drawn[-1][1] < 0.7 * drawn[1][1]
    # control: where wider networks differ as much as others, as many are drawn at every size
    row, drawn = made_up(lambda size: 1.0)
    assert len(drawn) >= 4
    assert row.control_rejected
    assert drawn[-1][1] == pytest.approx(drawn[1][1], rel=0.2)


def test_what_extrapolation_leaves_is_told():
    row, _ = made_up(lambda size: 1e-3 / np.sqrt(size), second=1e4)
    assert row.verdict(row.test.p_value) != "agrees"


def test_one_path_has_the_flow_and_its_control():
    (s,) = settings_of(derive(ResNet(relu, width=sp.oo)), 1.0, 0.5, None, None, 1)
    with_control = [s.paths(limit, 1, 1, 0).ravel() for limit in (s.limit, s.control)]
    np.testing.assert_allclose(s.solutions(), with_control, rtol=1e-9)
    assert s.solutions()[0] == pytest.approx(np.exp(0.25))
    # control: a velocity that depends on the time is not the faster one later
    moving = replace(s, limit=replace(s.limit, drift=s.limit.drift * (1 + s.limit.time)))
    right, wrong = moving.solutions()
    assert right == pytest.approx(np.exp((0.5 + 0.125) / 2))
    assert wrong == pytest.approx(np.exp(1.05 * (0.5 + 0.125) / 2))
    assert wrong != pytest.approx(np.exp((0.525 + 0.525**2 / 2) / 2), rel=1e-3)


def test_layers_are_judged_by_no_more_networks_than_are_compared(monkeypatch):
    drawn = []

    def networks(self, size, samples, seed):
        drawn.append((size, samples))
        return drawn_by(self, size, samples, seed)

    drawn_by = Setting.networks
    monkeypatch.setattr(Setting, "networks", networks)
    (s,) = settings_of(derive(ResNet(relu, width=1)), 1.0, 1.0, None, None, 1)
    counts = {}
    for name, scale in (("quick", QUICK_SCALE), ("full", SCALE)):
        drawn.clear()
        of = replace(s, scale=scale)
        assert _falls(_DrawnOnce(of), most_powerful(of), 0) == (True, 0)
        assert [size for size, _ in drawn] == [16, 32, 64]  # each size once
        ((counts[name], *_),) = {tuple(count for _, count in drawn)}
    assert counts["quick"] < counts["full"] / 2  # the control, 5 % off, asks for more


def test_networks_of_a_size_are_drawn_once(monkeypatch):
    asked = []

    def networks(self, size, samples, seed):
        asked.append((size, samples))
        return drawn_by(self, size, samples, seed)

    drawn_by = Setting.networks
    monkeypatch.setattr(Setting, "networks", networks)
    (s,) = settings_of(derive(ResNet(relu, width=1)), 1.0, 1.0, None, None, 1)
    draw = _DrawnOnce(s)
    asked.clear()
    few, more, fewer = (draw(16, count, 0) for count in (100, 150, 40))
    assert asked == [(16, 100), (16, 50)]
    np.testing.assert_array_equal(more[:100], few)
    np.testing.assert_array_equal(fewer, few[:40])
    assert not np.isin(more[100:], few).any()  # control: those beside them are others
    asked.clear()
    claim = next(equation_of_networks(replace(s, scale=QUICK_SCALE), 0)).claim
    assert "networks of depth 16 and depth 32" in claim
    assert sorted(size for size, _ in asked) == [16, 16, 32, 32, 64]  # judged by some, compared with further ones


def test_the_error_of_what_a_finite_depth_adds_is_known_and_beside_that_of_the_samples():
    drawn = []

    def networks(size, samples, seed):
        drawn.append(samples)
        return np.random.default_rng(seed).standard_normal((samples, 3))

    s = SimpleNamespace(networks=networks, smallest=16, ratio=2, cost=float, limit=None)

    def corrections(depth, samples, count):
        drawn.clear()
        found = [
            _finite_size(s, [lambda x: x], depth, 1, samples, seed, 3)[0]
            for seed in np.random.SeedSequence(0).spawn(count)
        ]
        added, noise = (np.array(part) for part in zip(*found, strict=True))
        return np.mean(added**2), float(np.mean(noise.diagonal(axis1=1, axis2=2)))

    measured, said = corrections(64, 500, 400)
    assert measured / said == pytest.approx(1, abs=4 * np.sqrt(2 / 1200))
    assert measured / said * 8 / 5 != pytest.approx(
        1, abs=4 * np.sqrt(2 / 1200)
    )  # the control: that of the extrapolated mean
    assert said == pytest.approx(0.25 / 500, rel=0.1)  # a quarter of the samples' own
    assert max(drawn) == min(drawn) == 4000
    corrections(256, 500, 1)
    assert max(drawn) == 1000  # of deeper networks less is taken off
    corrections(16, 100_000, 1)
    assert max(drawn) == PILOT


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_networks_that_grow_without_bound_before_the_flow_are_told(seed):
    d = derive(GatedBlock(relu, width=sp.oo))  # K' = K²/2, infinite at t = 2
    with pytest.raises(
        ValueError, match=r"networks of depth and width 16 differ from each other by .* take a shorter time"
    ):
        validate(d, quick=True, seed=seed)
    with pytest.raises(ValueError, match="nothing moves"):  # the control
        validate(d, t=1e-9, quick=True, seed=seed)
