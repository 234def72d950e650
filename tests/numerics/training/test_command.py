"""The command that trains: its table, its file, its exit status and its refusals."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("jax", reason="training needs the extra jax")
pytest.importorskip("optax", reason="training needs the extra jax")

from numerics.cli import main
from numerics.cli.files import read_labelled


@pytest.fixture
def data(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3))
    np.savetxt(tmp_path / "data.csv", np.column_stack([x, x[:, 0] > 0]), delimiter=",")
    return str(tmp_path / "data.csv")


@pytest.mark.slow
def test_table_and_file_of_losses(data, tmp_path, capsys):
    out = tmp_path / "losses.csv"
    options = [
        "--data",
        data,
        "--depth",
        "4,8",
        "--width",
        "8",
        "--steps",
        "10",
        "--batch",
        "16",
        "--learning-rate",
        "0.1",
    ]
    assert main(["train", *options, "--out", str(out)]) == 0
    table, weights = capsys.readouterr().out.split("\n\n")
    head, *rows = table.splitlines()
    assert "gradient growth" in head
    assert [row.split()[0] for row in rows] == ["4", "8"]
    assert [row.split()[:2] for row in weights.splitlines()[2:]] == [["4", "W"], ["8", "W"]]
    assert len(out.read_text().splitlines()) == 1 + 2 * 10
    assert main(["train", *options, "--out", str(out)]) == 2
    assert "exists; choose another --out" in capsys.readouterr().err


@pytest.mark.slow
def test_lost_loss_is_exit_status_1(data, capsys):
    assert main(["train", "--data", data, "--depth", "4", "--width", "8", "--learning-rate", "1e8"]) == 1
    assert "take a smaller one" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--depth", "4,x"], "depth must be a whole number"),
        (["--width", "oo"], "a width that is a number"),
        (["--optimizer", "adam"], "give learning_rate for adam"),
        (["--optimizer", "adamm", "--learning-rate", "0.1"], "unknown optimizer 'adamm'; close names: adam"),
    ],
)
def test_refusals_name_the_cause(options, says, data, capsys):
    try:
        code = main(["train", "--data", data, *options])
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("last", ["0.5", "-1", "20000"])
def test_labels_are_whole_numbers(last, tmp_path):
    (tmp_path / "data.csv").write_text(f"1,2,0\n1,2,{last}\n")
    with pytest.raises(ValueError, match="a whole number from 0 to 9999, in the last column"):
        read_labelled(str(tmp_path / "data.csv"))


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["x + eps*W(relu(x))", "x + eps*A(relu(B(x, out=4*n)))"])
def test_typed_layers_are_derived_at_infinite_width(layer, data, capsys):
    main(["train", "--layer", layer, "--data", data, "--depth", "2", "--width", "8", "--steps", "1"])
    out = capsys.readouterr().out
    assert "shapes do not fit" not in out
    assert "–" not in out  # what is not derived
