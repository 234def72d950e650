"""What the command ``train`` refuses before any work."""

from __future__ import annotations

import pytest

from tests.command_line import complaint

pytest.importorskip("jax")
pytest.importorskip("optax")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["conv", "--positions", "7"], "an input of 2 numbers has none for each of 7 positions"),
        (["--optimizer", "sdg"], "unknown optimizer 'sdg'"),
        (["--layer", "x + eps*W(sign(x))"], "sign(x) jumps at x = 0"),
    ],
    ids=["positions", "optimizer", "jump"],
)
def test_training_that_cannot_be(arguments, says, capsys, tmp_path):
    (tmp_path / "labels.csv").write_text("1,2,0\n3,4,1\n" * 10)
    assert says in complaint(capsys, "train", *arguments, "--data", str(tmp_path / "labels.csv"))
