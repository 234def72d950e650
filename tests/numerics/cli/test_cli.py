"""The command: what it prints."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

from derivations import ConvResNet, MLPBlock, ResNet, derive, relu, symbols, tanh
from numerics import kernel_matrix, simulate_network
from numerics.cli import commands, main, recipes
from tests.command_line import complaint, printed


@pytest.mark.slow
def test_derive_prints_the_derivation(capsys):
    assert "Itô's formula for S" in printed(capsys, "derive", "resnet", "--activation", "relu", "--width", "n")
    assert r"\begin{aligned}" in printed(capsys, "derive", "--width", "1", "--format", "latex")
    assert printed(capsys, "derive", "--width", "1", "--format", "typst").startswith("== Recursion")
    assert json.loads(printed(capsys, "derive", "--width", "1", "--format", "json"))["steps"]
    assert "<math" in printed(capsys, "derive", "--width", "1", "--format", "html")
    assert "dK_12/dt" in printed(capsys, "derive", "--width", "oo", "--inputs", "2")


@pytest.mark.slow
def test_depth_and_width_go_together_where_the_architecture_says_so(capsys):
    shaped = printed(capsys, "derive", "shaped", "--c-plus", "1", "--c-minus=-1/2", "--inputs", "2")
    assert "9*(2*sqrt(1 - ρ_t**2)" in shaped  # (c₊ - c₋)² = 9/4
    assert "depth and width together" in shaped
    assert "-(V_t - 1)*V_t/2 dt" in printed(capsys, "derive", "shaped", "--activation", "tanh", "--a", "2")
    assert "sqrt(5)*V_t dB" in printed(capsys, "derive", "mlp")


@pytest.mark.slow
def test_derive_prints_potential_map_theta_series_and_proof(capsys):
    text = printed(capsys, "derive", "resnet", "--activation", "x**2 + 1", "--width", "1")
    for wanted in ("U = -1", "(atan(x) + pi/2)/pi", "Sum(", "(m, -oo, oo)", "(m, 1, oo)", "Each statement was checked"):
        assert wanted in text, wanted


@pytest.mark.slow
def test_shrinking_and_convolutional_networks_have_names(capsys):
    dense = printed(capsys, "derive", "shrinking", "--activation", "relu", "--outer", "silu", "--bias-variance", "1/3")
    assert "φ''(0) = 1/2" in dense
    assert "1/3" in dense
    line = printed(capsys, "derive", "conv", "--positions", "4", "--filter", "3", "--no-circular", "--width", "2")
    assert "X_l^{j,α+r}" in line
    plane = printed(
        capsys, "derive", "conv", "--positions", "2x3", "--filter", "1x3", "--width", "oo", "--activation", "identity"
    )
    assert "dK_11/dt" in plane
    explosive = printed(capsys, "derive", "shrinking", "--activation", "identity", "--outer", "silu", "--width", "oo")
    assert "with means M and second moments K" in " ".join(explosive.split())
    shown = printed(capsys, "simulate", "conv", "--positions", "4", "--width", "2", "--samples", "10", "--depth", "5")
    assert "10 samples of 2 neurons" in shown


@pytest.mark.slow
def test_weight_variance_is_exact(capsys):
    assert "N(0, 1/3)" in printed(capsys, "derive", "--width", "1", "--weight-variance", "1/3")
    assert "N(0, 1/10)" in printed(capsys, "derive", "--width", "1", "--weight-variance", "0.1")


def test_density_is_a_table_that_integrates_to_the_distribution_function(capsys):
    text = printed(capsys, "density", "--activation", "relu", "--x0", "2", "--t", "0.5", "--points", "2001")
    header, *rows = text.splitlines()
    x, pdf, cdf = np.array([[float(cell) for cell in row.split(",")] for row in rows]).T
    assert header == "x,pdf,cdf"
    assert np.trapezoid(pdf, x) == pytest.approx(cdf[-1] - cdf[0], abs=1e-4)


@pytest.mark.slow
def test_density_without_a_closed_form_is_solved_and_says_its_error(capsys):
    assert main(["density", "--activation", "tanh", "--points", "401", "--t", "0.5"]) == 0
    captured = capsys.readouterr()
    assert "solved by Fokker–Planck, error" in captured.err
    x, pdf, cdf = np.array([[float(cell) for cell in row.split(",")] for row in captured.out.splitlines()[1:]]).T
    assert np.trapezoid(pdf, x) == pytest.approx(cdf[-1] - cdf[0], abs=1e-4)
    assert np.trapezoid(x * pdf, x) == pytest.approx(1.0, abs=5e-3)  # a martingale, but for the tails beyond the table


def test_density_names_atoms(capsys):
    assert main(["density", "--x0", "-1", "--points", "3"]) == 0
    assert "atom at -1 with probability 1" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("of", ["network", "sde"])
def test_simulate_writes_states_and_says_what_they_are(of, tmp_path, capsys):
    out = tmp_path / "states.npy"
    size = ["--width", "3", "--depth", "20", "--samples", "50"]
    text = printed(capsys, "simulate", "--of", of, *size, "--out", str(out))
    states = np.load(out)
    assert states.shape == (50, 3, 1)
    assert f"mean {states[:, 0, 0].mean():.5g}" in text
    printed(capsys, "simulate", "--of", of, *size, "--out", str(out), "--force")
    assert np.array_equal(np.load(out), states)
    printed(capsys, "simulate", "--of", of, *size, "--seed", "1", "--out", str(tmp_path / "other.csv"))
    other = np.loadtxt(tmp_path / "other.csv", delimiter=",")
    assert other.shape == (50, 3)
    assert not np.array_equal(other, states[:, :, 0])


def test_validate_exits_with_1_where_a_check_does_not_pass(capsys):
    assert main(["validate", "--samples", "50", "--depth", "8"]) == 1  # too few to have power
    assert "no power" in capsys.readouterr().out


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("deeplimits ")


@pytest.mark.slow
def test_small_variances_are_read_exactly(capsys):
    assert "N(0, 1/1000)" in printed(capsys, "derive", "--width", "1", "--weight-variance", "1e-3")


def test_a_negative_value_is_no_option(capsys):
    shaped = printed(capsys, "derive", "shaped", "--c-plus", "1", "--c-minus", "-1/2", "--inputs", "2")
    assert "+ 2*asin(ρ_t)*ρ_t - pi*ρ_t)/(16*pi)" in shaped
    assert main(["density", "--x0", "-1e5", "--points", "3"]) == 0


@pytest.mark.slow
def test_the_same_json_in_every_process():
    def printed_by(seed: str) -> bytes:
        command = [
            sys.executable,
            "-m",
            "numerics.cli",
            "derive",
            "--activation",
            "leaky_relu(0.2)",
            "--format",
            "json",
        ]
        return subprocess.run(
            command,
            cwd=Path(__file__).parents[3],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout

    first = printed_by("1")
    assert first == printed_by("2")
    assert json.loads(first)["steps"]


def test_tiny_states_are_summarised_in_their_scale(capsys):
    text = printed(capsys, "simulate", "--samples", "20", "--depth", "5", "--x0", "1e-300")
    assert "norm / sqrt(width): mean 0" not in text
    assert "e-30" in text


def test_help_loads_no_mathematics():
    code = "import sys, numerics.cli.arguments as a; a.parser().format_help(); print('sympy' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_help_has_no_markup(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["derive", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert all(part in said for part in ("τ_0, a number or a symbol", "over √k or over k", "as of Weights"))
    assert not re.search(r"[~`\\]|:\w+:", said)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["derive", "--layer", "x + eps*A(x)"], "nothing was written; start again with: deeplimits derive --layer 'x + eps*A(x)'"),
        (["simulate"], "nothing was kept; with --checkpoint it can go on from where it stopped: deeplimits simulate --checkpoint DIR"),
        (["simulate", "--checkpoint", "run"], "what is finished is kept in run; go on with: deeplimits simulate --checkpoint run"),
    ],
    ids=["nothing", "could", "kept"],
)  # fmt: skip
def test_interruption_says_how_to_go_on(line, says, monkeypatch, capsys):

    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setitem(commands.COMMANDS, line[0], interrupted)
    assert main(line) == 130
    assert capsys.readouterr() == ("", f"deeplimits: interrupted; {says}\n")


def test_every_command_has_json_and_examples_that_are_read():
    from numerics.cli.arguments import EXAMPLES, parser

    (commands,) = (a.choices for a in parser()._actions if a.dest == "command")
    assert commands.keys() == EXAMPLES.keys()
    for name, command in commands.items():
        assert "--json" in command.built()._option_string_actions, name
        assert "examples:\n  deeplimits" in command.format_help()
        for example in EXAMPLES[name]:
            parser().parse_args([name, *shlex.split(example)])


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        ["derive", "--width", "1"],
        ["density", "--points", "5"],
        ["output", "--quantiles", "0.1,0.9"],
        ["simulate", "--depth", "5", "--samples", "8"],
        ["kernel", "--random", "2x2"],
        ["scalings", "--layer", "x + eps*A(x)", "--width", "1"],
        ["jacobian", "--activation", "identity", "--width", "1"],
        ["validate", "--activation", "identity", "--samples", "50", "--depth", "8"],
        ["choose", "mlp-block", "--weight-variance", "?", "--width", "4", "--mean-square", "2"],
    ],
    ids=lambda line: line[0],
)
def test_json_of_each_command(line, capsys):
    main([*line, "--json"])
    assert json.loads(capsys.readouterr().out)


def test_json_of_a_density_has_all_digits_and_atoms(capsys, tmp_path):
    out = tmp_path / "density.json"
    main(["density", "--x0", "-1", "--points", "3", "-o", str(out)])
    held = json.loads(out.read_text())
    assert held["atoms"] == [{"at": -1.0, "probability": 1.0}]
    assert list(held["cdf"]) == [0.0, 1.0, 1.0]
    capsys.readouterr()
    assert "--json stands beside --format latex" in complaint(capsys, "derive", "--json", "--format", "latex")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_their_options(shell, capsys):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit, match="0"):
        main(["--print-completion", shell])
    script = capsys.readouterr().out
    assert all(word in script for word in ("scalings", "transformer-block", "--weight-variance"))


def test_a_line_of_names_in_a_csv_file_is_read(tmp_path, capsys):
    plain, named = tmp_path / "plain.csv", tmp_path / "named.csv"
    plain.write_text("1,2\n0.5,-1\n")
    named.write_text("first,second\n1,2\n0.5,-1\n")
    assert printed(capsys, "kernel", "--inputs", str(named)) == printed(capsys, "kernel", "--inputs", str(plain))
    plain.write_text("\n".join(f"{k}.5" for k in range(150)))  # more than the paths of a report are drawn of
    assert len(printed(capsys, "kernel", "--inputs", str(plain)).splitlines()) == 150


@pytest.mark.slow
def test_simulate_on_a_cluster_of_processes_prints_the_same(capsys):
    pytest.importorskip("distributed", reason="clusters need the extra dask")
    size = ("simulate", "--width", "2", "--depth", "4", "--samples", "30000")
    plain = printed(capsys, *size)
    command = [sys.executable, "-m", "numerics.cli", *size, "--dask", "--workers", "2"]
    cluster = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=100)
    assert cluster.stdout == plain, cluster.stderr


@pytest.mark.parametrize(("seconds", "said"), [(0.0, False), (0.4, True)])
def test_what_takes_long_is_said_while_it_runs(monkeypatch, capsys, seconds, said):
    from numerics.cli import progress

    monkeypatch.setattr(progress, "_PATIENCE", 0.2)
    with progress.slow_stage("derivation"):
        time.sleep(seconds)
        assert ("derivation …" in capsys.readouterr().err) is said
    assert ("derivation: 0.4 s" in capsys.readouterr().err) is said


def test_a_search_is_said_and_then_counted(monkeypatch, capsys):
    from numerics.cli import progress

    monkeypatch.setattr(progress, "_PATIENCE", 0.1)
    monkeypatch.setattr(progress, "_QUIET", 0.2)
    with progress.slow_bar("search") as show:
        time.sleep(0.3)
        show(50, 100)
    first, second, last = capsys.readouterr().err.splitlines()
    assert first == "  search …"
    assert second.startswith("  search: 50 of 100, ")
    assert last.startswith("  search: 0.")


def test_progress_tells_rate_and_remaining_time(monkeypatch, capsys):
    from numerics.cli import progress

    clock = iter([0.0, 1.0, 10.0, 11.0, 20.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    with progress.samples_bar("networks") as show:
        for finished in (10, 100, 110, 200):
            show(finished, 400)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "  networks: 100 of 400, 10 per s, 30 s left",
        "  networks: 200 of 400, 10 per s, 20 s left",
    ]


@pytest.mark.slow
def test_samples_of_ones_own_networks_are_compared(tmp_path, capsys):
    file = str(tmp_path / "mine.csv")
    recipe = ["--layer", "x + eps*A(relu(B(x)))", "--width", "3"]
    assert main(["simulate", *recipe, "--depth", "64", "--samples", "4000", "--out", file]) == 0
    capsys.readouterr()
    assert main(["compare", *recipe, "--samples", file, "--t", "1.5"]) == 1  # another time than theirs
    table = capsys.readouterr().out
    assert "your samples against" in table
    assert "differs" in table


@pytest.mark.slow
def test_samples_over_positions_are_compared_from_their_start(tmp_path, capsys):
    start, file, wrong = (str(tmp_path / f"{name}.npy") for name in ("start", "mine", "wrong"))
    states = np.random.default_rng(3).normal(size=(3, 2))
    np.save(start, states)
    recipe = ["conv", "--outer", "tanh", "--activation", "relu", "--positions", "2", "--width", "3"]
    net = ConvResNet(tanh, relu, width=3, positions=(2,))
    np.save(file, simulate_network(net, 100, 20_000, x0=states, seed=4))
    np.save(wrong, simulate_network(net, 100, 20_000, x0=-states, seed=4))
    assert main(["compare", *recipe, "--samples", file, "--start", start, "--depth", "100"]) == 0
    assert main(["compare", *recipe, "--samples", wrong, "--start", start, "--depth", "100"]) == 1
    capsys.readouterr()
    assert main(["compare", *recipe, "--samples", file]) == 2
    assert "--start FILE" in capsys.readouterr().err


def test_density_of_the_mean_square_where_neurons_have_none(capsys):
    assert main(["density", "--layer", "x + eps*A(relu(B(x)))", "--width", "3", "--points", "3"]) == 0
    out, err = capsys.readouterr()
    assert "density of V" in err
    # log V ~ N((1/2 - 1/n) t, 2t/n): the 0.1 % quantile
    low = float(out.splitlines()[1].split(",")[0])
    assert low == pytest.approx(np.exp(1 / 6 - 3.0902323 * np.sqrt(2 / 3)), rel=1e-6)


@pytest.mark.parametrize("typed", recipes.named())
def test_every_recipe_has_a_word_and_its_options_are_its_fields(typed, monkeypatch, capsys):
    """The example of each recipe, typed, is what is derived."""
    kind = recipes.named()[typed]
    example = kind.example()
    inside, arguments = recipes.activations(kind)[:1], [typed, "--width", str(example.width)]
    known = recipes.options()
    for field in fields(kind):
        value, option = getattr(example, field.name), known.get(field.name)
        if field.name in inside:
            arguments += ["--activation", str(value)]
        elif option is not None and value is not None and (value != field.default or field.name == "positions"):
            shown = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
            arguments += [option.name] if option.is_flag else [f"{option.name}={shown}"]
    seen, derived = [], derive(ResNet(relu, width=1))
    monkeypatch.setattr("numerics.cli.typed.derive", lambda net, order=None: seen.append(net) or derived)
    printed(capsys, "derive", *arguments, "--inputs", str(example.inputs))
    assert seen == [example]


def test_no_option_of_a_recipe_is_one_of_a_command():
    """Else a command could not have both; each option of a recipe is read as its field is typed."""
    from numerics.cli.arguments import parser

    top = parser()
    (commands,) = (a.choices for a in top._actions if a.dest == "command")
    for command in commands.values():
        command.built()  # argparse refuses an option that is there already
    assert set(recipes.SHAPING) <= set(recipes.options())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "more", "said"),
    [
        ("x - eps**2*A.T(tanh(A(x, out=8)))", ["--width", "3"], "v_A^i = Sum_j A_ji tanh(u^j)"),
        ("x + eps*A(B(x, out=3, law={4: 9/5}))", ["--width", "2"], "W_ij^B ~ Law(0, 1/2)"),
        (
            "x + eps*A(x, variance=1 + t, bias_variance=2) + eps**2*M(x, variance=0, mean=1/2, bias_mean=1/3)",
            ["--width", "2"],
            "N(0, t/2 + 1/2)",
        ),
        ("x + eps*A(x, row_covariance=[[1, 1/2], [1/2, 1]])", ["--width", "2"], "A_ij"),
        ("x + eps*W(relu(x), filter=3, padding=zeros)", ["--width", "2", "--positions", "4"], "W_ij^r ~ N(0, 1/6)"),
        ("x + eps*W(x, filter=(3, 1), padding=reflect)", ["--width", "2", "--positions", "3x2"], "X_l^{j,α+r}"),
        ("x + eps*A(mixed([[0, 1], [1, 0]], x))", ["--width", "2", "--positions", "2"], "m^iα = Sum_β M^αβ*X_l^iβ"),
        ("x + eps*A(x, variance=n)", ["--width", "5"], "A_ij ~ N(0, 1)"),
        ("W(x - average(x))", ["--order", "joint", "--depth-rate", "1"], "depth and width together"),
        ("x + eps*W(x)", ["--order", "joint", "--depth-rate", "1", "--rate", "1/2"], "dV/dt = V"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_layer_is_typed_in_the_whole_language(layer, more, said, capsys):
    assert said in " ".join(printed(capsys, "derive", "--layer", layer, *more).split())


@pytest.mark.slow
def test_kernel_is_that_of_the_library(tmp_path, capsys):
    inputs, out = tmp_path / "inputs.csv", tmp_path / "kernel.npy"
    X = np.random.default_rng(3).standard_normal((3, 2))
    np.savetxt(inputs, X, delimiter=",", fmt="%.17g")
    block = [
        "kernel",
        "mlp-block",
        "--norm",
        "rms",
        "--hidden",
        "n",
        "--of",
        "ntk",
        "--t",
        "0.5",
        "--inputs",
        str(inputs),
    ]
    assert printed(capsys, *block, "--out", str(out)) == ""
    expected = kernel_matrix(MLPBlock(relu, width=sp.oo, hidden=symbols.width, norm="rms"), X, t=0.5, kind="ntk")
    assert np.array_equal(np.load(out), expected)
    table = [[float(v) for v in row.split(",")] for row in printed(capsys, *block).splitlines()]
    assert np.array_equal(table, expected)  # all digits
    assert not np.array_equal(table, kernel_matrix(ResNet(relu, width=sp.oo), X, t=0.5, kind="ntk"))
    again = complaint(capsys, *block, "--out", str(out))
    assert "exists" in again
    assert printed(capsys, *block, "--out", str(out), "--force") == ""


def test_kernel_of_random_inputs_comes_from_the_seed(capsys):
    first, again, other = (printed(capsys, "kernel", "--random", "2x3", "--seed", s) for s in "001")
    assert first == again != other
    rows = printed(capsys, "kernel", "conv", "--positions", "2", "--random", "2x4").splitlines()
    assert len(rows) == 2


def test_a_theorem_is_written_where_its_file_is_named(capsys, tmp_path):
    out = tmp_path / "theorem.tex"
    assert main(["derive", "--width", "1", "--style", "theorem", "-o", str(out)]) == 0
    assert r"\begin{theorem}" in out.read_text()
    capsys.readouterr()
    assert "name its file in --out" in complaint(capsys, "derive", "--style", "theorem")
