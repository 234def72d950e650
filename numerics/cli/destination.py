"""Where a command writes: checked before anything is loaded, nothing overwritten unless asked to."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from derivations.errors import unknown

#: Documents, by suffix, and the format that each is.
DOCUMENTS = {".tex": "latex", ".typ": "typst", ".txt": "text", ".json": "json"}


def check_outputs(options: argparse.Namespace) -> None:
    """Put the paths to write to, or None, as ``file`` and ``drawing`` beside what was typed.

    Raises
    ------
    ValueError
        As :func:`checked_output`.
    """
    if hasattr(options, "suffixes"):
        suffixes = () if getattr(options, "format", None) else options.suffixes(options)
        options.file = checked_output(options.out, options.force, suffixes)
    if hasattr(options, "figure"):
        options.drawing = checked_output(options.figure, options.force, (".svg", ".pdf", ".png"), "--figure")


def checked_output(out: str | None, force: bool, suffixes: tuple[str, ...] = (), option: str = "--out") -> Path | None:
    """The path to write to, or None for standard output.

    Parameters
    ----------
    out : str or None
        As it was typed.
    force : bool
        Whether a file that exists may be replaced.
    suffixes : tuple of str
        Those that are known; none for any.
    option : str
        Where it was typed.

    Raises
    ------
    ValueError
        If the suffix is not known, the folder is missing or closed, or something is there already.
    """
    if out is None:
        return None
    path = Path(out)
    if suffixes and path.suffix not in suffixes:
        hint = f"{option} must end in {' or '.join(suffixes)}"
        cause = unknown("suffix", path.suffix, suffixes).split("; known")[0]
        raise ValueError(f"{cause}; {hint}, got {out}" if path.suffix else f"{hint}, got {out}")
    folder = path.absolute().parent
    if path.is_dir():
        raise ValueError(f"{out} is a folder; name a file in {option}")
    if not folder.is_dir():
        raise ValueError(f"the folder {folder} does not exist; make it, or choose another {option}")
    if path.is_file() and not force:
        raise ValueError(f"{out} exists; choose another {option}, or replace it with --force")
    if not os.access(path if path.exists() else folder, os.W_OK) or not (path.exists() or os.access(folder, os.X_OK)):
        raise ValueError(f"{out} cannot be written: permission denied; choose another {option}")
    return path
