"""The command: what it prints, what it writes, and how it complains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

from derivations import MLPBlock, ResNet, derive, relu, symbols
from derivations.explain import files
from numerics import kernel_matrix
from numerics.cli import main, recipes
from numerics.cli.files import read_inputs


def complaint(capsys, *arguments) -> str:
    """The one line with which a command line is refused."""
    try:
        code = main(list(arguments))
    except SystemExit as stopped:  # argparse's way
        code = stopped.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.startswith("deeplimits: error: ")
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")
    return captured.err


def printed(capsys, *arguments) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


# --- derive ---


def test_derive_prints_the_derivation(capsys):
    assert "Itô's formula for S" in printed(capsys, "derive", "resnet", "--activation", "relu", "--width", "n")
    assert r"\begin{aligned}" in printed(capsys, "derive", "--width", "1", "--format", "latex")
    assert printed(capsys, "derive", "--width", "1", "--format", "typst").startswith("== Recursion")
    assert json.loads(printed(capsys, "derive", "--width", "1", "--format", "json"))["steps"]
    assert "<math" in printed(capsys, "derive", "--width", "1", "--format", "html")
    assert "dK_12/dt" in printed(capsys, "derive", "--width", "oo", "--inputs", "2")


def test_depth_and_width_go_together_where_the_architecture_says_so(capsys):
    shaped = printed(capsys, "derive", "shaped", "--c-plus", "1", "--c-minus=-1/2", "--inputs", "2")
    assert "9*(2*ρ*asin(ρ)" in shaped  # (c₊ - c₋)² = 9/4
    assert "depth and width together" in shaped
    assert "-V*(V - 1)/2 dt" in printed(capsys, "derive", "shaped", "--activation", "tanh", "--a", "2")
    assert "sqrt(5)*V dB" in printed(capsys, "derive", "mlp")


def test_derive_prints_potential_map_theta_series_and_proof(capsys):
    text = printed(capsys, "derive", "resnet", "--activation", "x**2 + 1", "--width", "1")
    for wanted in ("V = -1", "z = atan(x)", "Sum(", "(m, -oo, oo)", "(m, 1, oo)", "Each statement was checked"):
        assert wanted in text, wanted


@pytest.mark.slow
def test_shrinking_and_convolutional_networks_have_names(capsys):
    dense = printed(capsys, "derive", "shrinking", "--activation", "relu", "--outer", "silu", "--bias-variance", "1/3")
    assert "φ''(0) = 1/2" in dense
    assert "1/3" in dense
    line = printed(capsys, "derive", "conv", "--positions", "4", "--filter", "3", "--no-circular", "--width", "2")
    assert "X_l^{j,d+p}" in line
    plane = printed(
        capsys, "derive", "conv", "--positions", "2x3", "--filter", "1x3", "--width", "oo", "--activation", "identity"
    )
    assert "dK_11/dt" in plane
    explosive = printed(capsys, "derive", "shrinking", "--activation", "identity", "--outer", "silu", "--width", "oo")
    assert "with means M and second moments K" in " ".join(explosive.split())
    shown = printed(capsys, "simulate", "conv", "--positions", "4", "--width", "2", "--samples", "10", "--depth", "5")
    assert "10 samples of 2 neurons" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["conv"], "--positions 8x8"),
        (["conv", "--positions", "4", "--filter", "2"], "odd"),
        (["conv", "--positions", "4", "--filter", "3x3"], "one for each dimension"),
        (["conv", "--positions", "2x2x2"], "one or two positive whole numbers"),
        (["conv", "--positions", "0"], "positions must be whole numbers from 1 to 999"),
        (["shrinking", "--positions", "4"], "--positions is for conv"),
        (["resnet", "--no-circular"], "--no-circular is for conv, conv-block, got it with resnet"),
        (["resnet", "--bias-variance", "1"], "--bias-variance is for shrinking, conv, "),
        (["mlp", "--weight-variance", "2"], "--weight-variance is for resnet, "),
        (["mlp-block", "--norm", "rmsnorm"], "unknown norm 'rmsnorm'; close names: rms"),
        (["mlp-block", "--place", "before"], "unknown place 'before'; known: pre, post"),
        (["mlp-block", "--hidden", "0"], "positive whole number of neurons"),
        (["mlp-block", "--hidden", "4*x"], "hidden must be a number"),
        (["mlp-block", "--hidden", "n/2", "--width", "3"], "positive whole number of neurons"),
        (["mlp-block", "--keep", "2"], "probability"),
        (["gated-block", "--keep-branch", "A(2)"], "keep-branch must be a number"),
        (["shaped", "--c-plus", "1", "--c-minus", "0", "--rate", "1,2,3"], "a pair for two"),
        (["shaped", "--rate", "1"], "needs either c-plus and c-minus"),
        (["resnet", "--activation", "tanh", "--a", "2"], "shaped_tanh tends to a linear function as the width grows"),
        (["shrinking", "--bias-variance", "-1"], "bias-variance must be"),
        (["shrinking", "--outer", "relu"], "not twice differentiable"),
        (["shrinking", "--outer", "cos(x)"], "at 0, not 0"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_networks_that_make_no_sense_are_refused(capsys, arguments, says):
    assert says in complaint(capsys, "derive", *arguments)


def test_weight_variance_is_exact(capsys):
    assert "N(0, 1/3)" in printed(capsys, "derive", "--width", "1", "--weight-variance", "1/3")
    assert "N(0, 1/10)" in printed(capsys, "derive", "--width", "1", "--weight-variance", "0.1")


@pytest.mark.parametrize(
    ("suffix", "start"),
    [
        ("tex", "\\documentclass"),
        ("typ", "#set document"),
        ("txt", "ResNet"),
        ("json", "{"),
        ("html", "<!doctype html>"),
    ],
)
def test_derive_writes_what_the_suffix_says(suffix, start, tmp_path, capsys):
    out = tmp_path / f"derivation.{suffix}"
    assert printed(capsys, "derive", "--width", "1", "--out", str(out)) == ""
    assert out.read_text(encoding="utf-8").startswith(start)


# --- density, simulate, validate ---


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


# --- what is refused ---


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required"),
        (["frobnicate"], "error: unknown command 'frobnicate'"),
        (["simulat"], "error: unknown command 'simulat'; close names: simulate"),
        (["derive", "transformer"], "error: unknown architecture 'transformer'"),
        (["derive", "resnets"], "error: unknown architecture 'resnets'; close names: resnet"),
        (["derive", "resnet", "mlp"], "error: 'mlp' is one argument too many"),
        (["density", "--ti", "1"], "error: unknown option of density '--ti'"),
        (["density", "--a", "1"], "error: relu has a kink at 0, and s φ(x/s) keeps it"),
        (["compare"], "--samples"),
        (["compare", "--samples", "no-such-file.npy"], "error: no-such-file.npy does not exist"),
        (["derive", "--activatio", "relu"], "error: unknown option of derive '--activatio'; close names: --activation"),
        (["simulate", "--samp=5"], "error: unknown option of simulate '--samp'; close names: --samples"),
        (["derive", "--order", "dept"], "error: unknown --order 'dept'; close names: depth"),
        (["simulate", "--of", "nets"], "error: unknown --of 'nets'"),
        (["simulate", "--method", "inlaw"], "error: unknown --method 'inlaw'; close names: in_law"),
        (["derive", "--activation", "__import__('os').system('true')"], "cannot be read"),
        (["derive", "--activation", "rellu"], "error: unknown word 'rellu'; close names: relu,"),
        (["derive", "shrinking", "--outer", "tanhh"], "error: unknown word 'tanhh'; close names: tanh"),
        (["derive", "--activation", "9**9**9**9"], "the power"),
        (["derive", "--activation", "x*y"], "variables"),
        (["derive", "--width", "0"], "width"),
        (["derive", "--width", "-3"], "width"),
        (["derive", "--width", "2.5"], "width"),
        (["derive", "--width", "9" * 5000], "width"),
        (["derive", "--weight-variance", "-1"], "weight-variance"),
        (["derive", "--weight-variance", "1e999999999"], "weight-variance"),
        (["derive", "--inputs", "0"], "inputs"),
        (["derive", "--format", "pdf"], "error: unknown --format 'pdf'"),
        (["derive", "--out", "x.pdf"], "error: unknown suffix '.pdf'"),
        (["derive", "--out", "x.jsn"], "error: unknown suffix '.jsn'; close names: .json"),
        (["derive", "--out", "x"], "error: --out must end in .tex"),
        (["derive", "--out", "no/such/folder/x.txt"], "no/such/folder does not exist"),
        (["derive", "--out", ".", "--format", "text"], "error: . is a folder"),
        (["density", "--out", "x.npy"], "error: unknown suffix '.npy'; known: .csv"),
        (["density", "--out", "x"], "error: --out must end in .csv"),
        (["density", "--out", "no/such/folder/x.csv"], "no/such/folder does not exist"),
        (["density", "--x0", "1e308"], "quantiles of the law are beyond double precision"),
        (["density", "--width", "3"], "expected a scalar diffusion"),
        (["density", "--t", "0"], "t"),
        (["density", "--t", "-1"], "t"),
        (["density", "--x0", "nan"], "finite"),
        (["density", "--x0", "inf"], "finite"),
        (["simulate", "--depth", "-1"], "depth"),
        (["simulate", "--width", "n"], "width"),
        (["simulate", "--width", "oo"], "width"),
        (["simulate", "--samples", "5", "--depth", "2", "--out", "x.pdf"], ".npy or .csv"),
        (["simulate", "--samples", "zero"], "error: samples must be a whole number"),
        (["simulate", "--samples", "999999999999999"], "more than this machine's"),
        (["simulate", "--width", "999999999", "--samples", "100"], "more than this machine's"),
        (["density", "--points", "99999999999"], "error: points must be a whole number of at most 10000000"),
        (["derive", "--weight-variance", "1e1000"], "weight-variance must be"),
        (["report", "--inputs", "no-such-file.csv"], "error: no-such-file.csv does not exist"),
        (["report", "--inputs", "."], "error: . is a folder"),
        (["report", "--x0", "1", "--inputs", "a.csv"], "both"),
        (["report", "--out", "no/such/folder/report.html"], "no/such/folder does not exist"),
        (["validate", "--x0", "-1"], "nothing moves"),
        (["derive", "shaped"], "needs either c-plus and c-minus"),
        (["derive", "shaped", "--c-plus", "x", "--c-minus", "0"], "c-plus must be a number"),
    ],
    ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else "",
)
def test_bad_request_is_refused_in_one_line(arguments, said, capsys):
    assert said in complaint(capsys, *arguments)


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("deeplimits ")


def test_small_variances_are_read_exactly(capsys):
    assert "N(0, 1/1000)" in printed(capsys, "derive", "--width", "1", "--weight-variance", "1e-3")


def test_a_negative_value_is_no_option(capsys):
    shaped = printed(capsys, "derive", "shaped", "--c-plus", "1", "--c-minus", "-1/2", "--inputs", "2")
    assert "9*(2*ρ*asin(ρ)" in shaped
    assert main(["density", "--x0", "-1e5", "--points", "3"]) == 0


WRITERS = {
    "d.txt": ("derive", "--width", "1"),
    "d.json": ("derive", "--width", "1"),
    "d.tex": ("derive", "--width", "1"),
    "p.csv": ("density", "--points", "3"),
    "s.npy": ("simulate", "--samples", "5", "--depth", "2"),
    "s.csv": ("simulate", "--samples", "5", "--depth", "2"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_is_overwritten_unless_asked(name, tmp_path, capsys):
    out, command = tmp_path / name, WRITERS[name]
    printed(capsys, *command, "--out", str(out))
    first = out.read_bytes()
    out.write_bytes(b"mine")
    assert f"{out} exists; choose another --out, or replace it with --force" in complaint(
        capsys, *command, "--out", str(out)
    )
    assert out.read_bytes() == b"mine"
    out.chmod(0o640)
    printed(capsys, *command, "--out", str(out), "--force")
    assert out.read_bytes() == first
    assert out.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_report_is_refused_before_it_is_computed(tmp_path, capsys):
    (tmp_path / "r.html").write_text("mine")
    assert "exists" in complaint(capsys, "report", "--out", str(tmp_path / "r.html"))


def test_no_part_of_a_file_remains(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_whole(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_links_are_followed_and_devices_written_to(tmp_path, capsys):
    (tmp_path / "link.txt").symlink_to(tmp_path / "file.txt")
    files.write_whole(tmp_path / "link.txt", b"new")
    assert (tmp_path / "file.txt").read_bytes() == b"new"
    assert (tmp_path / "link.txt").is_symlink()
    assert printed(capsys, "derive", "--width", "1", "--out", "/dev/null", "--format", "text") == ""


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


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--activation", "exp(exp(x))"], 1, "of 20 networks are not finite at t = 1, the first is sample"),
        (["--x0", "1e308"], 1, "of 20 networks exploded"),
        (["--of", "sde", "--x0", "1e308"], 1, "20 of 20 paths exploded"),
        (["--activation", "1/(x-1)"], 2, "1/(x - 1) has no value at x = 1: layer 1 of 5, sample"),
        (["--activation", "x**(1/3)"], 2, "error: the covariance x**(2/3) is"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_what_is_no_number_is_never_printed_as_a_result(arguments, status, says, capsys):
    assert main(["simulate", "--samples", "20", "--depth", "5", *arguments]) == status
    captured = capsys.readouterr()
    assert "nan" not in captured.out
    assert says in captured.err
    assert all(line.startswith("deeplimits: ") for line in captured.err.splitlines())


def test_tiny_states_are_summarised_in_their_scale(capsys):
    text = printed(capsys, "simulate", "--samples", "20", "--depth", "5", "--x0", "1e-300")
    assert "norm / sqrt(width): mean 0" not in text
    assert "e-30" in text


def test_ten_megabytes_of_formula_are_refused_at_once(capsys):
    assert "characters" in complaint(capsys, "derive", "--activation", "x+" * 5_000_000 + "x")


GOOD = b"1,2,3\n4,5,6\n"
BAD_FILES = {
    "empty.csv": (b"", "bytes"),
    "blank.csv": (b"\n\n", "no numbers"),
    "ragged.csv": (b"1,2\n3\n", "line 2 has 1 numbers"),
    "words.csv": (b"1,2\na,b\n", "line 2"),
    "nan.csv": (b"1,2\nnan,3\n", "row 2, column 1"),
    "infinite.csv": (b"inf,2\n", "not finite"),
    "huge.csv": (b"1e300,2\n", "1e100"),
    "binary.csv": (bytes(range(128, 256)), "no text"),
    "zero.csv": (b"1,2\n0,0\n", "row 2 is 0"),
    "fake.npy": (GOOD, "no .npy file"),
    "cut.npy": (b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'", "cannot be read"),
    "many.csv": (b"1,2\n" * 101, "at most 100"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_refused_in_one_line(name, tmp_path, capsys):
    content, said = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    assert said in complaint(capsys, "report", "--inputs", str(path), "--out", str(tmp_path / "r.html"))
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([{"a": 1}], dtype=object), "cannot be read"),  # a pickle, which could run anything
        (np.array([["a", "b"]]), "expected real numbers"),
        (np.ones((2, 2)) * 1j, "expected real numbers"),
        (np.ones(3), "shape (3,)"),
        (np.ones((0, 3)), "shape (0, 3)"),
        (np.ones((2, 2, 2)), "shape (2, 2, 2)"),
    ],
    ids=["pickle", "words", "complex", "one axis", "no rows", "three axes"],
)
def test_bad_array_is_refused(array, said, tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, array)
    with pytest.raises(ValueError, match=r"a\.npy") as refused:
        read_inputs(str(path))
    assert said in str(refused.value)


def test_good_files_are_read_alike(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + GOOD)  # as spreadsheets write it
    np.save(tmp_path / "a.npy", np.array([[1, 2, 3], [4, 5, 6]]))
    for name in ("a.csv", "a.npy"):
        assert read_inputs(str(tmp_path / name)).tolist() == [[1, 2, 3], [4, 5, 6]]


# --- the process ---


def test_help_loads_no_mathematics():
    code = "import sys, numerics.cli.arguments as a; a.parser().format_help(); print('sympy' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_interruption_is_quiet(monkeypatch, capsys):
    from numerics.cli import commands

    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setitem(commands.COMMANDS, "derive", interrupted)
    assert main(["derive"]) == 130
    assert capsys.readouterr() == ("", "")


def test_missing_extra_says_how_to_get_it(monkeypatch, capsys):
    for name in [
        m for m in sys.modules if m.startswith("numerics.report") or m.split(".")[0] in ("jinja2", "matplotlib")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert 'pip install "deeplimits[report]"' in complaint(capsys, "derive", "--width", "1", "--format", "html")


def test_our_own_mistake_is_reported_in_one_line_too(monkeypatch, capsys):
    from numerics.cli import commands

    def broken(options):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setitem(commands.COMMANDS, "derive", broken)
    assert "unexpected ZeroDivisionError: division by zero" in complaint(capsys, "derive")


def test_simulate_goes_on_from_a_checkpoint(tmp_path, capsys):
    size = ("--width", "2", "--depth", "4", "--samples", "300")
    plain = printed(capsys, "simulate", *size)
    kept = [printed(capsys, "simulate", *size, "--checkpoint", str(tmp_path / "kept")) for _ in range(2)]
    assert kept == [plain, plain]
    assert list((tmp_path / "kept").glob("block_*.npz"))
    assert main(["simulate", *size, "--seed", "1", "--checkpoint", str(tmp_path / "kept")]) == 2
    assert "differs in seed" in capsys.readouterr().err


@pytest.mark.slow
def test_simulate_on_a_cluster_of_processes_prints_the_same(capsys):
    pytest.importorskip("distributed", reason="clusters need the extra dask")
    size = ("simulate", "--width", "2", "--depth", "4", "--samples", "30000")
    plain = printed(capsys, *size)
    command = [sys.executable, "-m", "numerics.cli", *size, "--dask", "--workers", "2"]
    cluster = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=100)
    assert cluster.stdout == plain, cluster.stderr


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


def test_samples_of_ones_own_networks_are_compared(tmp_path, capsys):
    file = str(tmp_path / "mine.csv")
    recipe = ["--layer", "x + eps*A(relu(B(x)))", "--width", "3"]
    assert main(["simulate", *recipe, "--depth", "64", "--samples", "4000", "--out", file]) == 0
    capsys.readouterr()
    assert main(["compare", *recipe, "--samples", file, "--t", "1.5"]) == 1  # another time than theirs
    table = capsys.readouterr().out
    assert "your samples against" in table
    assert "differs" in table


def test_density_of_the_mean_square_where_neurons_have_none(capsys):
    assert main(["density", "--layer", "x + eps*A(relu(B(x)))", "--width", "3", "--points", "3"]) == 0
    out, err = capsys.readouterr()
    assert "density of V" in err
    # log V ~ N((1/2 - 1/n) t, 2t/n): the 0.1 % quantile
    low = float(out.splitlines()[1].split(",")[0])
    assert low == pytest.approx(np.exp(1 / 6 - 3.0902323 * np.sqrt(2 / 3)), rel=1e-6)


@pytest.mark.parametrize("beside", [["resnet"], ["--activation", "tanh"]])
def test_a_layer_and_a_recipe_beside_it_are_refused(beside, capsys):
    assert main(["derive", *beside, "--layer", "x + eps*A(relu(x))"]) == 2
    assert "--layer says the whole layer" in capsys.readouterr().err


# --- every recipe, and the whole language ---


@pytest.mark.parametrize("typed", recipes.named())
def test_every_recipe_has_a_word_and_its_options_are_its_fields(typed, capsys):
    """The example of each recipe, typed: the same limit as that of the object."""
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
    shown = json.loads(printed(capsys, "derive", *arguments, "--inputs", str(example.inputs), "--format", "json"))
    assert shown == json.loads(derive(example).to_json())


def test_no_option_of_a_recipe_is_one_of_a_command():
    """Else a command could not have both; each option of a recipe is read as its field is typed."""
    from numerics.cli.arguments import parser

    top = parser()
    (commands,) = (a.choices for a in top._actions if a.dest == "command")
    for command in commands.values():
        command.built()  # argparse refuses an option that is there already
    assert set(recipes.SHAPING) <= set(recipes.options())


@pytest.mark.parametrize(
    ("layer", "more", "said"),
    [
        ("x - eps**2*A.T(tanh(A(x, out=8)))", ["--width", "3"], "v_A^i = Sum_j A_ji tanh(u^j)"),
        ("x + eps*A(B(x, out=3, law={4: 9/5}))", ["--width", "2"], "B_ij ~ Law(0, 1/2)"),
        (
            "x + eps*A(x, variance=1 + t, bias_variance=2) + eps**2*M(x, variance=0, mean=1/2, bias_mean=1/3)",
            ["--width", "2"],
            "N(0, t/2 + 1/2)",
        ),
        ("x + eps*A(x, row_covariance=[[1, 1/2], [1/2, 1]])", ["--width", "2"], "A_ij"),
        ("x + eps*W(relu(x), filter=3, padding=zeros)", ["--width", "2", "--positions", "4"], "W_ij^d ~ N(0, 1/6)"),
        ("x + eps*W(x, filter=(3, 1), padding=reflect)", ["--width", "2", "--positions", "3x2"], "X_l^{j,d+p}"),
        ("x + eps*A(mixed([[0, 1], [1, 0]], x))", ["--width", "2", "--positions", "2"], "m^iα = Sum_β X_l^iβ*c^αβ"),
        ("x + eps*A(x, variance=n)", ["--width", "5"], "A_ij ~ N(0, 1)"),
        ("W(x - average(x))", ["--order", "joint", "--depth-rate", "1"], "depth and width together"),
        ("x + eps*W(x)", ["--order", "joint", "--depth-rate", "1", "--rate", "1/2"], "dV/dt = V"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_layer_is_typed_in_the_whole_language(layer, more, said, capsys):
    assert said in " ".join(printed(capsys, "derive", "--layer", layer, *more).split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--layer", "x + eps*A(x)", "--bias-variance", "1"], "and --bias-variance 1 stands beside it"),
        (["--layer", "x + eps*A(x)", "--no-circular"], "and --no-circular stands beside it"),
        (["--layer", "x + eps*A(x, filter=3)"], "one for each dimension of the grid, got filter=(3,) for positions=()"),
        (["--layer", "x + eps*A(x, fliter=3)"], "unknown option of the matrix A 'fliter'; close names: filter"),
        (["--layer", "x + eps*A(x)", "--positions", "4x"], "positions must be whole numbers"),
        (["--layer", "x + eps*A(x)", "--rate", "1"], "the depth must be tied to it too"),
        (["--layer", "x + eps*A(x)", "--depth-rate=-1"], "rates must be positive"),
        (["--layer", "x + eps*A(x)*c"], "unknown symbol 'c'"),
        (["--layer", "x + eps*relu.T(x)"], "is no transpose of a matrix"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_layers_that_make_no_sense_are_refused(arguments, says, capsys):
    assert says in complaint(capsys, "derive", *arguments)


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
    expected = kernel_matrix(MLPBlock(relu, sp.oo, hidden=symbols.width, norm="rms"), X, t=0.5, kind="ntk")
    assert np.array_equal(np.load(out), expected)
    table = [[float(v) for v in row.split(",")] for row in printed(capsys, *block).splitlines()]
    assert np.array_equal(table, expected)  # all digits
    assert not np.array_equal(table, kernel_matrix(ResNet(relu, sp.oo), X, t=0.5, kind="ntk"))
    again = complaint(capsys, *block, "--out", str(out))
    assert "exists" in again
    assert printed(capsys, *block, "--out", str(out), "--force") == ""


def test_kernel_of_random_inputs_comes_from_the_seed(capsys):
    first, again, other = (printed(capsys, "kernel", "--random", "2x3", "--seed", s) for s in "001")
    assert first == again != other
    rows = printed(capsys, "kernel", "conv", "--positions", "2", "--random", "2x4").splitlines()
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--random", "1000x2"], "random must be two whole numbers"),
        (["--random", "3"], "random must be two whole numbers such as 3x4"),
        (["--random", "0x4"], "random must be two whole numbers"),
        (["--random", "2x2", "--inputs", "a.csv"], "given both"),
        (["--width", "3"], "infinitely wide"),
        (["--t", "-1"], "t must be finite"),
        (["--of", "ntkk"], "unknown --of 'ntkk'; close names: ntk"),
        (["--tolerance", "2"], "tolerance must be between"),
        (["--out", "k.txt"], "unknown suffix '.txt'"),
        (["--inputs", "no-such.csv"], "does not exist"),
        (["conv", "--positions", "3", "--random", "2x4"], "has none for each of 3 positions"),
        (["shaped", "--c-plus", "0", "--c-minus", "1"], ""),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_kernels_that_make_no_sense_are_refused(arguments, says, capsys):
    assert says in complaint(capsys, "kernel", *arguments)
