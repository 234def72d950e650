"""A page on a text: tokens of a block by the derived flow and by networks, with checks that can fail."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

from derivations import AttentionBlock, DerivationError, ResNet, TransformerBlock, derive, relu
from numerics.cli import main
from numerics.report import Text, report, tokens
from numerics.report.tokens import _directions, _features, _flow

LINEAR = AttentionBlock(width=sp.oo, positions=2, kind="linear", norm="rms")


@pytest.mark.slow
def test_linear_attention_of_two_characters_on_a_page():
    # the norms grow like those of Brownian motion, and the correlation stays where it is 0: Σ C² = 2 per unit of time
    d = derive(LINEAR, order="width")
    derived = _flow(d, np.eye(2), np.array([0.0, 0.5, 1.0]))
    assert np.allclose(derived, np.eye(2) * (1 + 2 * np.array([0.0, 0.5, 1.0]))[:, None, None], rtol=1e-3)
    page = report(d, Text("a$", width=8, t=0.5, depth=20, samples=20))
    moved, checks = page.sections
    assert len(moved.figures) == 3
    assert "1 (a)" in moved.figures[0].svg
    assert len(checks.tables[0].rows) == 3
    assert "at half the time" in checks.tables[0].caption


@pytest.mark.slow
def test_as_many_networks_as_the_control_needs(monkeypatch):
    """Eight networks do not tell the flow from the one at half the time; the number that is then drawn does, as far as that depends on it."""
    monkeypatch.setattr(tokens, "FIRST", 8)
    d = derive(LINEAR, order="width")
    text = Text("a$", width=16, t=3.0, depth=40)
    caption = report(d, text).sections[1].tables[0].caption
    (count,) = map(int, re.findall(r"Means over (\d+) networks", caption))
    assert 8 < count <= tokens.MOST
    norms, *others = report(d, text).sections[1].tables[0].rows
    assert "✓" in norms[1]
    assert all("it claims the same number" in row[1] for row in others)  # tokens without correlation stay so
    few = report(d, replace(text, samples=8)).sections[1].tables[0]
    assert "Means over 8 networks" in few.caption
    assert re.search(r"8 networks do not tell the two apart; about \d+ would", few.caption)


def test_characters_and_places_are_one_hot():
    gram = _features("aba").T @ _features("aba")
    assert np.allclose(gram, [[1, 0, 0.5], [0, 1, 0], [0.5, 0, 1]])
    assert _directions(np.ones((3, 3))) == pytest.approx(1)
    assert _directions(2 * np.eye(3)) == pytest.approx(3)


@pytest.mark.parametrize(
    ("make", "text", "error", "says"),
    [
        (
            lambda: derive(ResNet(relu, width=sp.oo), order="width"),
            Text("ab"),
            DerivationError,
            "at least two positions",
        ),
        (lambda: derive(LINEAR, order="width"), Text("a b", width=7), ValueError, "must be even, got 7 and 500"),
        (lambda: derive(LINEAR, order="width"), Text(" a\n"), ValueError, "the text has 1 characters"),
        (
            lambda: derive(AttentionBlock(width=sp.oo, positions=2, kind="linear", output_bias_mean=1), order="width"),
            Text("ab"),
            DerivationError,
            "centred neurons",
        ),
    ],
    ids=["no positions", "odd", "short", "means"],
)
def test_what_no_page_is_made_of(make, text, error, says):
    with pytest.raises(error, match=says):
        report(make(), text)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--text", "LICENSE", "--x0", "1"], "start from one of them"),
        (["--text", "LICENSE", "--order", "joint"], "limit of infinite width"),
        (["--text", "LICENSE", "--width", "n"], "a whole number, got n"),
        (["--text", "no-such-text"], "does not exist; name a file of a text"),
        (["--text", "tests"], "is a folder"),
    ],
)
def test_words_that_do_not_fit(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[3])
    assert main(["report", *words, "--out", str(tmp_path / "page.html")]) != 0
    assert says in capsys.readouterr().err


def test_bytes_that_are_no_text(capsys, tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    assert main(["report", "--text", str(tmp_path / "bytes"), "--out", str(tmp_path / "page.html")]) != 0
    assert "is no text in UTF-8" in capsys.readouterr().err


@pytest.mark.slow
def test_eight_characters_of_the_licence_in_a_transformer_of_depth_500():
    text = (Path(__file__).parents[3] / "LICENSE").read_text(encoding="utf-8").split("\n\n")[2]
    d = derive(TransformerBlock(width=sp.oo, positions=8, activation=relu), order="width")
    page = report(d, Text(text))
    assert "“Redistri”" in page.sections[0].text[0]
    assert page.sections[1].text == ("3 of 3 checks pass, each with a control that is rejected.",)
    assert len(page.html()) < 500_000
