"""Documents through pdflatex, and what it complains of."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path


def typeset(source: Path, halts: bool = True) -> str:
    """What pdflatex says of a document, which must go through unless it is a control."""
    run = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", *["-halt-on-error"] * halts, source.name],
        cwd=source.parent, capture_output=True, text=True, encoding="latin-1", timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0 or not halts, run.stdout[-2000:]
    return run.stdout


def complaints(said: str) -> list[str]:
    """Warnings and lines that are too wide or too loose; a first run says of every document with labels that they may have changed."""
    return [line for line in said.splitlines() if re.search(r"Warning(?!: Label\(s\) may)|Overfull|Underfull", line)]
