"""Ensembles that are too large to hold: the plan, and the same numbers as those that are kept."""

from __future__ import annotations

import json

import pytest

from numerics.cli import large, main

SIZE = ("simulate", "--width", "2", "--depth", "3", "--samples", "60000")


def test_the_plan_comes_first_and_draws_nothing(capsys):
    assert main([*SIZE, "--plan"]) == 0
    out, said = capsys.readouterr()
    assert not out
    assert "plan: 60000 networks in 4 blocks of 16384" in said


@pytest.mark.slow
@pytest.mark.parametrize("start", [("--x0", "0.5"), ("--workers", "2")], ids=["start", "threads"])
def test_condensed_networks_are_those_that_are_kept(start, capsys, monkeypatch):
    assert main([*SIZE, *start, "--json"]) == 0
    kept = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(large, "LARGE", 0)
    assert main([*SIZE, *start, "--json"]) == 0
    out, said = capsys.readouterr()
    assert "plan: " in said
    condensed = json.loads(out)
    for one, other in zip(kept.pop("statistics"), condensed.pop("statistics"), strict=True):
        assert one["of"] == other["of"]
        assert [one["mean"], one["standard_error"]] == pytest.approx(
            [other["mean"], other["standard_error"]], rel=1e-10
        )
        assert list(one["quantiles"].values()) == pytest.approx(list(other["quantiles"].values()), rel=3e-3)
    assert kept == condensed
    assert main([*SIZE, "--hours", "1e-12"]) == 2
    assert "more than --hours 1e-12" in capsys.readouterr().err
