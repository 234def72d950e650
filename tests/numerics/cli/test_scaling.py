"""The commands on scalings, on choosing a parameter, on Jacobians, on training at infinite width, and on claims."""

from __future__ import annotations

import contextlib
import json
import math

import numpy as np
import pytest
import sympy as sp

from derivations import Network, Weights, epsilon
from numerics import solve_training
from numerics.cli import main


@pytest.mark.slow
def test_scalings_in_words_as_data_and_as_a_figure(tmp_path, capsys):
    figure, out = tmp_path / "phase.svg", tmp_path / "scalings.json"
    assert main(["scalings", "resnet", "--figure", str(figure)]) == 0
    text = capsys.readouterr().out
    assert "noise only" in text
    assert "p = 1/2" in text
    assert figure.read_text().startswith("<?xml")
    assert main(["scalings", "--layer", "x + eps*A(relu(B(rms_norm(x))))", "--out", str(out)]) == 0
    assert json.loads(out.read_text())
    assert main(["scalings", "resnet", "--out", str(out)]) == 2  # exists
    assert "phase" not in capsys.readouterr().out


@pytest.mark.slow
def test_the_first_step_of_training(tmp_path, capsys):
    assert main(["scalings", "resnet", "--training"]) == 0
    assert "learning rate of W" in capsys.readouterr().out
    figure = tmp_path / "step.svg"
    assert main(["scalings", "resnet", "--training", "W", "--figure", str(figure)]) == 0
    assert "learning rate of v" not in capsys.readouterr().out
    assert figure.read_text().startswith("<?xml")
    assert main(["scalings", "resnet", "--training", "V"]) == 2
    assert "unknown matrix 'V'" in capsys.readouterr().err


def test_what_is_a_question_mark_is_found(capsys):
    layer = ["--layer", "x + ?*eps*A(relu(B(x)))", "--width", "oo", "--mean-square", "2", "--bounds", "0.1,3"]
    assert main(["choose", *layer]) == 0
    assert capsys.readouterr().out.startswith(f"c = {math.sqrt(2 * math.log(2)):.6g}:")
    assert main(["choose", "resnet", "--width", "oo", "--mean-square", "2", "--t", "?"]) == 0
    assert capsys.readouterr().out.startswith(f"t = {2 * math.log(2):.6g}:")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("choose shaped --mean-square 1", "one option must be ?"),
        ("choose --layer x+eps*A(x) --width 2 --mean-square 1", "or a number in --layer"),
        ("choose shaped --a ? --width ? --mean-square 1", "one option must be ?"),
        ("choose shaped --a ? --mean-square 1 --depth 0", "depth must be a positive whole number"),
        ("choose resnet --width oo --mean-square 2 --t ? --bounds 3", "bounds must be two numbers"),
        ("choose resnet --width oo --mean-square 0.5 --t ?", "is not reached"),
        ("scalings resnet --figure a.gif", ".svg"),
    ],
)
def test_what_makes_no_sense_is_one_line(line, message, capsys):
    with contextlib.suppress(SystemExit):  # options that cannot be read end the parser
        assert main(line.split()) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_question_mark_that_is_lost_in_a_sum_of_numbers_is_refused(capsys):
    assert main(["choose", "--layer", "x + eps*(1 + ?)*A(relu(B(x)))", "--width", "oo", "--mean-square", "2"]) == 2
    assert "is lost" in capsys.readouterr().err


@pytest.mark.slow
def test_jacobians_in_words_and_as_data(tmp_path, capsys):
    out = tmp_path / "jacobian.json"
    assert main(["jacobian", "--layer", "x + eps*W(x)", "--width", "n"]) == 0
    assert "Λ_t ~ N(-t/2, t)" in capsys.readouterr().out
    assert main(["jacobian", "mlp", "--activation", "relu", "--out", str(out)]) == 0
    assert json.loads(out.read_text())
    assert main(["jacobian", "mlp", "--out", str(out)]) == 2  # exists
    capsys.readouterr()
    assert main(["jacobian", "--layer", "x + eps*W(heaviside(x))"]) == 2
    assert "jumps at x = 0" in capsys.readouterr().err


LINEAR = ["dynamics", "--layer", "x + eps*W(x)"]


def test_training_at_infinite_width_in_words_and_on_data(tmp_path, capsys):
    assert main(LINEAR) == 0
    assert "E[z zᵀ] = P Σ Pᵀ" in capsys.readouterr().out
    data, out = tmp_path / "data.csv", tmp_path / "run.csv"
    data.write_text("a,b,y\n1,0.5,1\n-0.2,1,-1\n")
    given = [*LINEAR, "--data", str(data), "--steps", "4", "--depth", "2"]
    assert main([*given, "--learning-rate", "0.3", "--out", str(out)]) == 0
    head, *rows = out.read_text().splitlines()
    assert head == "step,loss,f_1,f_2,error_1,error_2"
    run = solve_training(
        Network(lambda x: x + epsilon * Weights("W")(x), width=sp.oo), [[1, 0.5], [-0.2, 1]], [1, -1], 2, 0.3, 4
    )
    seen = np.array([[float(cell) for cell in row.split(",")] for row in rows])
    assert seen[:, 1] == pytest.approx(run.losses, rel=1e-8)
    assert seen[:, 2:4] == pytest.approx(run.outputs, abs=1e-8)
    capsys.readouterr()
    assert main([*given, "--limits", "flow", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["outputs"]) == 5
    data.write_text("1\n2\n")
    for more, message in (
        (given, "has one column"),
        ([*LINEAR, "--steps", "4"], "which needs --data"),
        ([*LINEAR, "--order", "joint"], "leave it out"),
        ([*given, "--format", "latex"], "leave one of both out"),
    ):
        assert main(more) == 2
        assert message in capsys.readouterr().err


def test_claims_are_listed_below_their_sources_and_for_programs(capsys):
    assert main(["claims", "--list", "--source", "Nica"]) == 0
    source, first, *_ = capsys.readouterr().out.splitlines()
    assert source.startswith("M. Li, M. Nica, ")
    assert first.startswith("    log-norm, shaped ReLU: E log V at t = 1")
    assert main(["claims", "--list", "--json", "--quick"]) == 0
    quick = json.loads(capsys.readouterr().out)
    assert main(["claims", "--list", "--json"]) == 0
    every = json.loads(capsys.readouterr().out)
    assert [entry for entry in every if entry["quick"]] == quick
    assert 0 < len(quick) < len(every)
    assert {"source", "claim", "statement", "quick"} == every[0].keys()


@pytest.mark.slow
def test_claims_are_checked(capsys):
    assert main(["claims", "--claim", "determinant, width 2", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["verdict"] == "holds"
    assert entry["control"]["p"] < 1e-4
    assert main(["claims", "--claim", "determinant"]) == 2
    assert "close names: determinant, width 2" in capsys.readouterr().err
