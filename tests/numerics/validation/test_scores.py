"""Distribution functions of many values, which scores of networks are made of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from numerics.validation import scores
from numerics.validation.scores import of_many


def with_an_atom(x):
    return (stats.norm.cdf(x) + (x >= 0.3)) / 2


def narrow(x):
    return (stats.norm.cdf(x) + stats.norm.cdf((x - 1) * 1e6)) / 2


@pytest.mark.parametrize("cdf", [with_an_atom, narrow])
def test_where_a_law_rises_by_much_it_is_asked_itself(monkeypatch, cdf):
    values = np.random.default_rng(0).standard_normal(50_000)
    values[::7] = 0.3
    asked = []

    def counted(x):
        asked.append(len(x))
        return cdf(x)

    assert np.max(np.abs(of_many(counted, values) - cdf(values))) < 1e-4  # a fiftieth of the noise of so many
    assert sum(asked) < len(values) / 4
    monkeypatch.setattr(scores, "_STEEP", 1.0)  # the control: a line across the jump
    assert np.max(np.abs(of_many(cdf, values) - cdf(values))) > 0.05


def test_few_values_and_infinite_ones_are_asked_one_by_one():
    few = np.random.default_rng(1).standard_normal(100)
    assert np.array_equal(of_many(with_an_atom, few), with_an_atom(few))
    many = np.append(np.random.default_rng(1).standard_normal(50_000), np.inf)
    assert np.array_equal(of_many(with_an_atom, many), with_an_atom(many))
