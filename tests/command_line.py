"""The command run inside a test."""

from __future__ import annotations

import re

from numerics.cli import main


def complaint(capsys, *arguments) -> str:
    """The one line with which a command line is refused; before it may stand what takes long and how long it took, on a slow machine."""
    try:
        code = main(list(arguments))
    except SystemExit as stopped:  # argparse's way
        code = stopped.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    said = re.sub(r"\A(?:  [^\n]*(?: …|: [\d.]+ s)\n)+", "", captured.err)
    assert said.startswith("deeplimits: error: ")
    assert said.count("\n") == 1
    assert said.endswith("\n")
    return said


def printed(capsys, *arguments) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out
