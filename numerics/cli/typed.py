"""What was typed, as objects: the network and its derivation, start, time, workers, and the words that a page repeats."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import derivations
from derivations import Derivation, DerivationError, Recipe, Regime, derive, symbols
from numerics.cli import recipes
from numerics.cli.asked import parameters_of
from numerics.cli.files import read_inputs, read_text
from numerics.cli.progress import slow_stage


def derivation_of(options: argparse.Namespace, inputs: int = 1) -> Derivation:
    """The derivation of what was typed."""
    network = network_of(options, inputs)
    with slow_stage("limit"):
        return derive(network, order=options.order)


def network_of(options: argparse.Namespace, inputs: int = 1) -> Recipe:
    """The recipe that was typed, or the layer."""
    given = {name: getattr(options, name) for name in recipes.options() if getattr(options, name) is not None}
    parameters = parameters_of(options)
    if options.layer is None:
        if parameters:
            raise DerivationError("--parameter names letters of --layer, which is not given; leave it out")
        options.architecture = options.architecture or "resnet"
        if options.activation is not None:
            given["activation"] = options.activation
        return recipes.recipe(options.architecture, given, width_of(options.width), inputs)
    beside = {"the architecture": options.architecture, "the activation": options.activation}
    beside |= {recipes.options()[name].name: value for name, value in given.items() if name not in recipes.OF_LAYERS}
    for word, value in beside.items():
        if value is not None:
            said = word if value is True else f"{word} {value}"
            raise DerivationError(f"--layer says the whole layer, and {said} stands beside it; leave one of both out")
    grid = recipes.positions(given["positions"]) if "positions" in given else ()
    layer, width = derivations.parse_layer(options.layer, parameters), width_of(options.width)
    return derivations.Network(
        layer, width=width, inputs=inputs, parameters=parameters, positions=grid, regime=_regime(given)
    )


def _regime(given: dict[str, Any]) -> Regime:
    """The rates of a layer as a formula: eps is n^(-rate), and n^(depth-rate) layers make a unit of time."""
    depth, rate = (
        None if given.get(name) is None else recipes.number(given[name], name.replace("_", "-"))
        for name in ("depth_rate", "rate")
    )
    return Regime({} if rate is None else {symbols.step: rate}, depth)


def time_of(options: argparse.Namespace, networks: Derivation | None = None) -> float:
    """The time asked for, else that of so many layers where it is not free, else 1."""
    own = None if networks is None else networks.architecture.time_of(options.depth)
    if own is not None and own.is_number and options.t is None:
        return float(own)
    return 1.0 if options.t is None else float(options.t)


def width_of(text: str) -> object:
    """A width: n, oo or a whole number."""
    if text == "n":
        return symbols.width
    if text == "oo":
        return float("inf")
    return int(text)


def require_memory(samples: int, d: Derivation) -> None:
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


def start_of(options: argparse.Namespace) -> float:
    """The fixed state that networks start from, 1 where none was typed."""
    return 1.0 if options.x0 is None else float(options.x0)


@contextmanager
def workers_of(options: argparse.Namespace) -> Iterator[int | Executor]:
    """Threads, or a Dask cluster."""
    if options.dask is None:
        yield options.workers
        return
    from numerics.ensembles import dask_executor

    with dask_executor(options.dask or None, None if options.workers == 1 else options.workers) as executor:
        yield executor


def inputs_of(options: argparse.Namespace) -> np.ndarray | None:
    """The inputs of a file, if one was named."""
    if options.inputs is None:
        return None
    if options.x0 is not None:
        raise ValueError("--inputs and --x0 are given both; networks start either from inputs or from a fixed state")
    return read_inputs(options.inputs)


def text_of(options: argparse.Namespace) -> str | None:
    """The text of a report, and what it takes where nothing else was typed."""
    if options.text is None:
        return None
    if options.inputs is not None or options.x0 is not None:
        raise ValueError("--text is given beside --inputs or --x0; networks start from one of them")
    if options.order not in (None, "width"):
        raise ValueError(f"--text follows the limit of infinite width, got --order {options.order}; leave it out")
    text = read_text(options.text)
    if options.layer is None and options.architecture is None:
        options.architecture = "transformer-block"
    if options.layer is not None or options.architecture in recipes.options()["positions"].kinds:
        options.positions = options.positions or "8"
    options.order, options.t = "width", 10.0 if options.t is None else options.t
    if not isinstance(width_of(options.width), int):
        raise ValueError(f"--width is that of the networks beside the limit, a whole number, got {options.width}")
    return text


def _usual(typed: str) -> str | None:
    """The activation where none was typed."""
    kind = recipes.named()[typed]
    return str(getattr(kind, recipes.activations(kind)[0], "relu")) if recipes.activations(kind) else None


def summary_of(options: argparse.Namespace, samples: int | None = None) -> tuple[tuple[str, str], ...]:
    """What was chosen, for the head of a page; of a file only its name."""
    inputs = getattr(options, "inputs", None)
    text = Path(options.text).name if getattr(options, "text", None) else None
    chosen = {
        "layer": options.layer,
        "activation": None if options.layer else options.activation or _usual(options.architecture),
        "width" if text is None else "width of the networks": options.width,
        **{name.replace("_", " "): getattr(options, name) for name in recipes.options()},
        "inputs": Path(inputs).name if isinstance(inputs, str) else inputs,
        "text": text,
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


def with_option(options: argparse.Namespace, option: str, value: str) -> str:
    """The command as it was typed, but for one option."""
    words, kept = iter(options.command_line), []
    for word in words:
        if word == option:
            next(words)
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return shlex.join([*kept, option, value])


def command_of(options: argparse.Namespace) -> str:
    """The command as it was typed."""
    return shlex.join(options.command_line)
