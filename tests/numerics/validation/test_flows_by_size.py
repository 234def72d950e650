"""How many networks the comparison with a flow draws at each size, on networks that are made up."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import sympy as sp

from derivations.diffusion import Flow
from numerics.validation.base import spawn
from numerics.validation.equation import flow_of_networks


def made_up(spread, right=2.0, second=150.0):
    """Networks whose mean lacks a term of the second order in one over the size, so that the smallest sizes do not do."""
    q, drawn = sp.Symbol("q"), []

    def networks(size, samples, seed):
        drawn.append((size, samples))
        noise = np.random.default_rng(spawn(seed, 1)[0]).standard_normal((samples, 1, 1))
        return right + 1.0 / size + second / size**2 + spread(size) * noise

    values = {"limit": right, "control": 1.05 * right}
    flow = Flow((q,), sp.Matrix([q]))
    s = SimpleNamespace(
        limit=flow,
        control="control",
        paths=lambda limit, *_: np.full((1, 1), values["control" if limit == "control" else "limit"]),
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
