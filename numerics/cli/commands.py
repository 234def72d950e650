"""What each command does, once its options are read."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import derivations
from derivations import Derivation, DerivationError, derive, parse_activation, symbols
from numerics.cli.arguments import ARCHITECTURES
from numerics.cli.files import read_inputs
from numerics.cli.progress import samples_bar, stage

_SUFFIXES = {".tex": "latex", ".txt": "text", ".json": "json", ".html": "html"}


def _derive(options: argparse.Namespace) -> int:
    out = Path(options.out) if options.out else None
    kind = options.format or (_SUFFIXES.get(out.suffix) if out else "text")
    if kind is None:
        raise DerivationError(
            f"expected --out with a suffix among {', '.join(_SUFFIXES)}, or --format, got {options.out}"
        )
    d = _derivation(options, options.inputs)
    if kind == "latex" and out:
        d.write(out.with_suffix(".tex")) if out.suffix == ".tex" else out.write_text(d.latex() + "\n", encoding="utf-8")
        return 0
    _put(_FORMATS[kind](d, options), out)
    return 0


def _html(d: Derivation, options: argparse.Namespace) -> str:
    from numerics.report.page import Page

    return Page(d, _summary(options), command=_command(options)).html()


_FORMATS: dict[str, Callable[[Derivation, argparse.Namespace], str]] = {
    "text": lambda d, _: str(d),
    "latex": lambda d, _: d.latex() + "\n",
    "json": lambda d, _: d.to_json(),
    "html": _html,
}


def _density(options: argparse.Namespace) -> int:
    from numerics.compile import compile_law

    d = _derivation(options)
    if d.law is None:
        raise DerivationError(f"no closed-form density: {d.why_no_law}; simulate instead: deeplimits simulate --of sde")
    law = compile_law(d.law, x0=_x0(options), t=options.t)
    for location, mass in law.atoms:
        print(f"atom at {location:.10g} with probability {mass:.10g}", file=sys.stderr)
    low, high = law.ppf(1e-3), law.isf(1e-3)
    if low == high:  # all of the law is one atom
        low, high = low - 1.0, high + 1.0
    x = np.linspace(low, high, options.points)
    rows = np.stack([x, law.pdf(x), law.cdf(x)], axis=1)
    _put(
        "x,pdf,cdf\n" + "".join(",".join(f"{v:.10g}" for v in row) + "\n" for row in rows),
        Path(options.out) if options.out else None,
    )
    return 0


def _simulate(options: argparse.Namespace) -> int:
    from numerics.networks import simulate_network
    from numerics.paths import simulate_sde

    inputs = _inputs(options)
    d = _derivation(options, 1 if inputs is None else len(inputs))
    start = {"x0": _x0(options)} if inputs is None else {"inputs": inputs}
    with _workers(options) as workers, samples_bar("networks" if options.of == "network" else "paths") as progress:
        run = {"workers": workers, "checkpoint": options.checkpoint, "progress": progress, "samples": options.samples}
        if options.of == "network":
            states = simulate_network(
                d.architecture, options.depth, t=options.t, seed=options.seed, method=options.method, **start, **run
            )
        else:
            begin, path = np.random.SeedSequence(options.seed).spawn(2)
            at = simulate_network(d.architecture, 0, options.samples, seed=begin, **start).reshape(options.samples, -1)
            states = simulate_sde(d.limit, x0=at, t=options.t, steps=options.depth, seed=path, **run)
            states = states.reshape(options.samples, int(d.architecture.width), -1)
    _save(states, options.out)
    norms = np.linalg.norm(states, axis=1) / np.sqrt(states.shape[1])
    print(f"{options.samples} samples of {states.shape[1]} neurons and {states.shape[2]} inputs at t = {options.t:g}")
    for name, values in (("state of neuron 1", states[:, 0, :]), ("norm / sqrt(width)", norms)):
        for k, column in enumerate(values.T, 1):
            which = f", input {k}" if states.shape[2] > 1 else ""
            error = column.std(ddof=1) / np.sqrt(len(column))
            low, middle, high = np.quantile(column, (0.05, 0.5, 0.95))
            print(
                f"{name}{which}: mean {column.mean():.5g} ± {error:.2g}, quantiles 5 % {low:.5g}, 50 % {middle:.5g}, 95 % {high:.5g}"
            )
    return 0


def _validate(options: argparse.Namespace) -> int:
    from numerics.validate import validate

    d = _derivation(options)
    table = validate(
        d,
        x0=_x0(options),
        t=options.t,
        samples=options.samples,
        depth=options.depth,
        seed=options.seed,
        workers=options.workers,
    )
    print(table)
    return 0 if table else 1


def _report(options: argparse.Namespace) -> int:
    out = Path(options.out)
    if not out.absolute().parent.is_dir():
        raise ValueError(f"expected --out in a folder that exists, got {options.out}")
    inputs = _inputs(options)
    from numerics.report import Inputs, Start, report

    d = _derivation(options, 1 if inputs is None else len(inputs))
    size = {"t": options.t, "depth": options.depth, "seed": options.seed, "workers": options.workers}
    if options.samples:
        size["samples"] = options.samples
    of = Start(x0=_x0(options), **size) if inputs is None else Inputs(inputs, **size)
    page = report(d, of, _summary(options, of.samples), _command(options), stage)
    out.write_text(page.html(), encoding="utf-8")
    print(out)
    return 0


#: Every command by its name.
COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "derive": _derive,
    "density": _density,
    "simulate": _simulate,
    "validate": _validate,
    "report": _report,
}


def _derivation(options: argparse.Namespace, inputs: int = 1) -> Derivation:
    architecture = getattr(derivations, ARCHITECTURES[options.architecture])
    given = {"width": _width(options.width), "inputs": inputs, "weight_variance": _fraction(options.weight_variance)}
    known = {field.name for field in dataclasses.fields(architecture)}
    if "weight_variance" not in known and given["weight_variance"] != 1:
        raise DerivationError(f"{options.architecture} has its critical weight variance; leave weight-variance out")
    around = (parse_activation(options.outer),) if "outer" in known else ()
    recipe = architecture(
        *around, parse_activation(options.activation), **{k: v for k, v in given.items() if k in known}
    )
    return derive(recipe, order=getattr(options, "order", "depth"))


def _width(text: str) -> object:
    if text == "n":
        return symbols.width
    if text == "oo":
        return float("inf")
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0:
        return int(text)
    raise DerivationError(f"width must be a whole number from 1 to 999999999, n for a symbol, or oo, got {text[:40]!r}")


def _fraction(text: str) -> object:
    from fractions import Fraction

    message = f"weight-variance must be a number ≥ 0 such as 2, 0.5 or 1/2, got {text[:40]!r}"
    if len(text) > 20 or "e" in text.lower():  # 1e999999999 would be written out
        raise DerivationError(message)
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise DerivationError(message) from error
    if value < 0:
        raise DerivationError(message)
    return value


def _x0(options: argparse.Namespace) -> float:
    return 1.0 if options.x0 is None else float(options.x0)


@contextmanager
def _workers(options: argparse.Namespace) -> Iterator[int | Executor]:
    """Threads, or a Dask cluster."""
    if options.dask is None:
        yield options.workers
        return
    from numerics.ensembles import dask_executor

    with dask_executor(options.dask or None, None if options.workers == 1 else options.workers) as executor:
        yield executor


def _inputs(options: argparse.Namespace) -> np.ndarray | None:
    if options.inputs is None:
        return None
    if options.x0 is not None:
        raise ValueError("expected --inputs or --x0, got both: networks start either from inputs or from a fixed state")
    return read_inputs(options.inputs)


def _summary(options: argparse.Namespace, samples: int | None = None) -> tuple[tuple[str, str], ...]:
    """What was chosen, for the head of a page; of a file only its name."""
    inputs = getattr(options, "inputs", None)
    chosen = {
        "activation": options.activation,
        "width": options.width,
        "weight variance": options.weight_variance,
        "inputs": Path(inputs).name if isinstance(inputs, str) else inputs,
        "start": getattr(options, "x0", None),
        "time t": getattr(options, "t", None),
        "depth L": getattr(options, "depth", None),
        "networks": samples,
        "seed": getattr(options, "seed", None),
    }
    return tuple(
        (name, f"{value:g}" if isinstance(value, float) else str(value))
        for name, value in chosen.items()
        if value is not None
    )


def _command(options: argparse.Namespace) -> str:
    return shlex.join(options.command_line)


def _put(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")


def _save(states: np.ndarray, out: str | None) -> None:
    if out is None:
        return
    path = Path(out)
    if path.suffix == ".npy":
        np.save(path, states)
    elif path.suffix == ".csv":
        np.savetxt(path, states.reshape(len(states), -1), delimiter=",", fmt="%.17g")
    else:
        raise ValueError(f"expected --out ending in .npy or .csv, got {out}")
