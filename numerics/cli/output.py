"""How a command writes: whole files, in the format that is asked for."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from derivations.notation.files import write_whole

Writer = Callable[[np.ndarray], bytes]


def put(text: str, out: Path | None) -> None:
    """Write text to a file, or to standard output."""
    if out is None:
        sys.stdout.write(text)
    else:
        write_whole(out, text.encode())


def wants_json(options: argparse.Namespace) -> bool:
    """Whether JSON is asked for, by its option or by the suffix of a file."""
    return bool(options.json or (options.out and Path(options.out).suffix == ".json"))


def as_json(options: argparse.Namespace) -> None:
    """Let ``--json`` stand for ``--format json``.

    Raises
    ------
    ValueError
        If another format is given beside it.
    """
    if options.json and options.format not in (None, "json"):
        raise ValueError(f"--json stands beside --format {options.format}; leave one of both out")
    options.format = "json" if options.json else options.format


def shown_table(table: Any, json_wanted: bool) -> int:
    """Print a table of checks; the exit status says whether all hold."""
    if json_wanted:
        put(table.to_json(), None)
    else:
        print(table)
    return 0 if table else 1


def put_json(data: Any, out: Path | None = None) -> None:
    """Write plain data as JSON; numbers that are not finite become null."""
    put(json.dumps(_plain(data), ensure_ascii=False, indent=1, allow_nan=False) + "\n", out)


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple | np.ndarray):
        return [_plain(value) for value in data]
    if isinstance(data, float | np.floating):
        return float(data) if np.isfinite(data) else None
    return int(data) if isinstance(data, np.integer) else data


def put_law(
    options: argparse.Namespace, law: Any, columns: dict[str, Any], more: dict[str, Any], out: Path | None
) -> None:
    """A distribution: as JSON with its atoms where that is asked for, else its columns as CSV."""
    if wants_json(options):
        atoms = [{"at": location, "probability": mass} for location, mass in law.atoms]
        put_json({"law": law.name, **more, "error": law.error, "atoms": atoms, **columns}, out)
        return
    rows = zip(*columns.values(), strict=True)
    put(",".join(columns) + "\n" + "".join(",".join(f"{v:.10g}" for v in row) + "\n" for row in rows), out)


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


def heading(samples: int, width: int, inputs: int, time: float) -> str:
    """What stands above statistics of networks."""
    of = (f"{count} {word}" + "s" * (count != 1) for count, word in ((width, "neuron"), (inputs, "input")))
    return f"{samples} samples of {' and '.join(of)} at t = {time:g}"


def density_columns(law: Any, points: int) -> dict[str, Any]:
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
    return dict(zip(("x", "pdf", "cdf"), rows.T, strict=True))
