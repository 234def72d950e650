"""The command run inside a test."""

from __future__ import annotations

from numerics.cli import main


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
