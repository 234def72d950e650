"""What each command does, once its options are read."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import derivations
from derivations import Derivation, DerivationError, derive, parse_activation, symbols
from numerics.cli.arguments import ARCHITECTURES
from numerics.cli.files import read_inputs, read_samples
from numerics.cli.output import ARRAYS, checked_output, put, save_states
from numerics.cli.progress import samples_bar, slow_stage, stage

_SUFFIXES = {".tex": "latex", ".typ": "typst", ".txt": "text", ".json": "json", ".html": "html"}


def _derive(options: argparse.Namespace) -> int:
    out = checked_output(options.out, options.force, () if options.format else tuple(_SUFFIXES))
    kind = options.format or (_SUFFIXES[out.suffix] if out else "text")
    d = _derivation(options, options.inputs)
    if out and _SUFFIXES.get(out.suffix) == kind != "html":
        d.write(out)
    else:
        put(_FORMATS[kind](d, options), out)
    return 0


def _html(d: Derivation, options: argparse.Namespace) -> str:
    from numerics.report.page import Page

    return Page(d, _summary(options), command=_command(options)).html()


_FORMATS: dict[str, Callable[[Derivation, argparse.Namespace], str]] = {
    "text": lambda d, _: str(d),
    "latex": lambda d, _: d.latex() + "\n",
    "typst": lambda d, _: d.typst() + "\n",
    "json": lambda d, _: d.to_json(),
    "html": _html,
}


def _density(options: argparse.Namespace) -> int:
    from numerics.limit_distribution import distribution, has_distribution

    out = checked_output(options.out, options.force, (".csv",))
    d = _derivation(options)
    of: Any = d
    x0 = _x0(options)
    if d.order == "depth" and not has_distribution(d.limit) and has_distribution(d.gram):
        print("density of V, the mean square of a layer's neurons, from V = x0²", file=sys.stderr)
        of, x0 = d.gram if d.gram_law is None else d.gram_law, x0**2
    law = distribution(of, x0=x0, t=_time(options))
    if law.error > 0:
        print(f"no closed form known; solved by Fokker–Planck, error {law.error:.1g} in L¹", file=sys.stderr)
    for location, mass in law.atoms:
        print(f"atom at {location:.10g} with probability {mass:.10g}", file=sys.stderr)
    low, high = law.ppf(1e-3), law.isf(1e-3)
    if not np.isfinite([low, high]).all():
        raise ValueError(
            f"the quantiles of the law are beyond double precision, {low:.3g} and {high:.3g}; choose an x0 and a t of moderate size"
        )
    if low == high:  # all of the law is one atom
        low, high = low - 1.0, high + 1.0
    x = np.linspace(low, high, options.points)
    rows = np.stack([x, law.pdf(x), law.cdf(x)], axis=1)
    bad = np.isnan(rows).any(axis=1)
    if bad.any():
        raise ValueError(
            f"the density is not a number at {bad.sum()} of {len(rows)} points, the first x = {x[bad][0]:.10g}; "
            "choose an x0 and a t of moderate size"
        )
    put("x,pdf,cdf\n" + "".join(",".join(f"{v:.10g}" for v in row) + "\n" for row in rows), out)
    return 0


def _simulate(options: argparse.Namespace) -> int:
    from numerics.networks import simulate_network
    from numerics.paths import simulate_sde

    inputs = _inputs(options)
    out = checked_output(options.out, options.force, tuple(ARRAYS))
    d = _derivation(options, 1 if inputs is None else len(inputs))
    _require_memory(options.samples, d)
    time = _time(options, d if options.of == "network" else None)
    start = {"x0": _x0(options)} if inputs is None else {"inputs": inputs}
    with _workers(options) as workers, samples_bar("networks" if options.of == "network" else "paths") as progress:
        run = {"workers": workers, "checkpoint": options.checkpoint, "progress": progress, "samples": options.samples}
        if options.of == "network":
            states = simulate_network(
                d.architecture, options.depth, t=time, seed=options.seed, method=options.method, **start, **run
            )
        else:
            begin, path = np.random.SeedSequence(options.seed).spawn(2)
            at = simulate_network(d.architecture, 0, options.samples, seed=begin, **start).reshape(options.samples, -1)
            states = simulate_sde(d.limit, x0=at, t=time, steps=options.depth, seed=path, **run)
            states = states.reshape(options.samples, int(d.architecture.width), -1)
    save_states(states, out)
    lost = ~np.isfinite(states).all(axis=(1, 2))
    if lost.any():
        which = "network" if options.of == "network" else "path"
        print(
            f"deeplimits: {lost.sum()} of {options.samples} {which}s are not finite at t = {time:g}, the first is sample "
            f"{np.argmax(lost)}; means and quantiles are of the others",
            file=sys.stderr,
        )
        states = states[~lost]
    if len(states) < 2:
        return 1
    largest = np.max(np.abs(states)) or 1.0  # whose square may leave the range of numbers
    norms = largest * (np.linalg.norm(states / largest, axis=1) / np.sqrt(states.shape[1]))
    print(f"{len(states)} samples of {states.shape[1]} neurons and {states.shape[2]} inputs at t = {time:g}")
    for name, values in (("state of neuron 1", states[:, 0, :]), ("norm / sqrt(width)", norms)):
        for k, column in enumerate(values.T, 1):
            which = f", input {k}" if states.shape[2] > 1 else ""
            mean, error = (column / largest).mean(), (column / largest).std(ddof=1) / np.sqrt(len(column))
            low, middle, high = np.quantile(column, (0.05, 0.5, 0.95))
            print(
                f"{name}{which}: mean {mean * largest:.5g} ± {error * largest:.2g}, quantiles 5 % {low:.5g}, 50 % {middle:.5g}, 95 % {high:.5g}"
            )
    return 1 if lost.any() else 0


def _validate(options: argparse.Namespace) -> int:
    from numerics.validation import validate

    d = _derivation(options, options.inputs)
    return _shown(validate(d, samples=options.samples, **_setting(options)))


def _compare(options: argparse.Namespace) -> int:
    from numerics.validation import compare

    samples = read_samples(options.samples)
    d = _derivation(options, samples.shape[2] if samples.ndim == 3 else 1)
    return _shown(compare(d, samples, **_setting(options)))


def _setting(options: argparse.Namespace) -> dict[str, Any]:
    """What every check asks for."""
    size = {"depth": options.depth, "seed": options.seed, "workers": options.workers}
    return {"x0": _x0(options), "t": _time(options), "stage": slow_stage, **size}


def _shown(table: Any) -> int:
    print(table)
    return 0 if table else 1


def _report(options: argparse.Namespace) -> int:
    out = checked_output(options.out, options.force)
    inputs = _inputs(options)
    from numerics.report import Inputs, Start, report

    d = _derivation(options, 1 if inputs is None else len(inputs))
    size = {"t": _time(options), "depth": options.depth, "seed": options.seed, "workers": options.workers}
    if options.samples:
        size["samples"] = options.samples
    of = Start(x0=_x0(options), **size) if inputs is None else Inputs(inputs, **size)
    page = report(d, of, _summary(options, of.samples), _command(options), stage)
    put(page.html(), out)
    print(out)
    return 0


def _scalings(options: argparse.Namespace) -> int:
    from numerics.cli.scaling import run_scalings

    return run_scalings(options, _network)


def _choose(options: argparse.Namespace) -> int:
    from numerics.cli.scaling import run_choose

    return run_choose(options, _network)


#: Every command by its name.
COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "derive": _derive,
    "density": _density,
    "simulate": _simulate,
    "validate": _validate,
    "compare": _compare,
    "scalings": _scalings,
    "choose": _choose,
    "report": _report,
}


def _derivation(options: argparse.Namespace, inputs: int = 1) -> Derivation:
    return derive(_network(options, inputs), order=getattr(options, "order", None))


def _network(options: argparse.Namespace, inputs: int = 1) -> Any:
    if getattr(options, "layer", None) is not None:
        for word, given in (("architecture", options.architecture), ("activation", options.activation)):
            if given is not None:
                raise DerivationError(
                    f"--layer says the whole layer, and the {word} {given} beside it; leave one of both out"
                )
        return derivations.Network(derivations.parse_layer(options.layer), _width(options.width), inputs)
    options.architecture, options.activation = options.architecture or "resnet", options.activation or "relu"
    architecture = getattr(derivations, ARCHITECTURES[options.architecture])
    known = {field.name for field in dataclasses.fields(architecture)}
    variances = {
        name: _fraction(getattr(options, name), name.replace("_", "-")) for name in ("weight_variance", "bias_variance")
    }
    if "weight_variance" not in known and variances["weight_variance"] != 1:
        raise DerivationError(f"{options.architecture} has its critical weight variance; leave weight-variance out")
    if "bias_variance" not in known and variances["bias_variance"] != 0:
        raise DerivationError(
            f"{options.architecture} has no biases; leave bias-variance out, or choose shrinking or conv"
        )
    given = {"width": _width(options.width), "inputs": inputs, **variances, **_grid(options, "positions" in known)}
    around = (parse_activation(options.outer),) if "outer" in known else ()
    for name in ("c_plus", "c_minus", "a", "skip"):
        text = getattr(options, name, None)
        if text is not None and name not in known:
            raise DerivationError(f"--{name.replace('_', '-')} is for shaped, got it with {options.architecture}")
        if text is not None:
            given[name] = _fraction(text, name.replace("_", "-"), signed=name != "a")
    return architecture(*around, parse_activation(options.activation), **{k: v for k, v in given.items() if k in known})


def _time(options: argparse.Namespace, networks: Derivation | None = None) -> float:
    """The time asked for, else that of so many layers where it is not free, else 1."""
    own = None if networks is None else networks.architecture.time_of(options.depth)
    if own is not None and own.is_number and options.t is None:
        return float(own)
    return 1.0 if options.t is None else float(options.t)


def _grid(options: argparse.Namespace, convolutional: bool) -> dict[str, object]:
    """Positions, filter and padding of a convolutional network, which has them all."""
    if not convolutional:
        asked = [name for name in ("positions", "filter", "zero_padding") if getattr(options, name)]
        if asked:
            raise DerivationError(
                f"{options.architecture} has no grid; leave {', '.join(a.replace('_', '-') for a in asked)} out, or choose conv"
            )
        return {}
    if options.positions is None:
        raise DerivationError("conv needs the sizes of its grid, such as --positions 8 or --positions 8x8")
    filter_ = options.filter or (1,) * len(options.positions)
    return {"positions": options.positions, "filter": filter_, "circular": not options.zero_padding}


def _width(text: str) -> object:
    if text == "n":
        return symbols.width
    if text == "oo":
        return float("inf")
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0:
        return int(text)
    raise DerivationError(f"width must be a whole number from 1 to 999999999, n for a symbol, or oo, got {text[:40]!r}")


def _fraction(text: str, name: str, signed: bool = False) -> object:
    from fractions import Fraction

    message = f"{name} must be a number{'' if signed else ' ≥ 0'} such as 2, 0.5 or 1/2, got {text[:40]!r}"
    if len(text) > 30 or re.search(r"e[+-]?\d{3}", text.lower()):  # 1e999999999 would be written out
        raise DerivationError(message)
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise DerivationError(message) from error
    if value < 0 and not signed:
        raise DerivationError(message)
    return value


def _require_memory(samples: int, d: Derivation) -> None:
    """Refuse a size whose states alone do not fit this machine's memory."""
    width = d.architecture.width
    numbers = samples * (int(width) if width.is_Integer else 1) * d.architecture.coordinates
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    if 4 * 8 * numbers > memory:  # states, pre-activations, features and the result
        raise ValueError(
            f"{samples} samples of {width} neurons take about {32 * numbers / 2**30:.3g} GiB, more than this machine's "
            f"{memory / 2**30:.3g}; choose fewer samples or a smaller width"
        )


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
        raise ValueError("--inputs and --x0 are given both; networks start either from inputs or from a fixed state")
    return read_inputs(options.inputs)


def _summary(options: argparse.Namespace, samples: int | None = None) -> tuple[tuple[str, str], ...]:
    """What was chosen, for the head of a page; of a file only its name."""
    inputs = getattr(options, "inputs", None)
    chosen = {
        "activation": options.activation,
        "width": options.width,
        "weight variance": options.weight_variance,
        "bias variance": None if options.bias_variance == "0" else options.bias_variance,
        "positions": options.positions and "×".join(map(str, options.positions)),
        "filter": options.filter and "×".join(map(str, options.filter)),
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
