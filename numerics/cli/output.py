"""Where a command writes: checked before it computes, whole files, nothing overwritten unless asked to."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from derivations.errors import unknown
from derivations.notation.files import write_whole

Writer = Callable[[np.ndarray], bytes]


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
        raise ValueError(
            f"{unknown('suffix', path.suffix, suffixes)}; {hint}, got {out}" if path.suffix else f"{hint}, got {out}"
        )
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


def put(text: str, out: Path | None) -> None:
    """Write text to a file, or to standard output."""
    if out is None:
        sys.stdout.write(text)
    else:
        write_whole(out, text.encode())


def save_states(states: np.ndarray, out: Path | None) -> None:
    """Write an array of samples as its suffix says."""
    if out is not None:
        write_whole(out, ARRAYS[out.suffix](states))


def _npy(states: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, states)
    return buffer.getvalue()


def _csv(states: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savetxt(buffer, states.reshape(len(states), -1), delimiter=",", fmt="%.17g")
    return buffer.getvalue()


#: How arrays are written, by suffix.
ARRAYS: dict[str, Writer] = {".npy": _npy, ".csv": _csv}


def density_table(law: Any, points: int) -> str:
    """Density and distribution function, evenly between the outer quantiles of a thousandth."""
    low, high = law.ppf(1e-3), law.isf(1e-3)
    if not np.isfinite([low, high]).all():
        raise ValueError(
            f"the quantiles of the law are beyond double precision, {low:.3g} and {high:.3g}; choose an x0 and a t of moderate size"
        )
    if low == high:  # all of the law is one atom
        low, high = low - 1.0, high + 1.0
    x = np.linspace(low, high, points)
    rows = np.stack([x, law.pdf(x), law.cdf(x)], axis=1)
    bad = np.isnan(rows).any(axis=1)
    if bad.any():
        raise ValueError(
            f"the density is not a number at {bad.sum()} of {len(rows)} points, the first x = {x[bad][0]:.10g}; "
            "choose an x0 and a t of moderate size"
        )
    return "x,pdf,cdf\n" + "".join(",".join(f"{v:.10g}" for v in row) + "\n" for row in rows)
