"""Ensembles of networks too large to hold: a plan first, then mean and quantiles in memory that does not grow."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from time import process_time
from typing import Any

import numpy as np

from derivations import Derivation
from numerics.cli.output import heading, put_json
from numerics.ensembles import Moments, Quantiles
from numerics.ensembles.dask import workers_of
from numerics.networks import simulate_network
from numerics.outcomes import NotFinite

#: Numbers in all states beyond which they are condensed block by block.
LARGE = 1 << 27
#: Numbers in all states times layers beyond which a short run says first how long all of it takes.
LONG = 1 << 34
#: Layers, and networks, of such a short run.
_PROBED, _FEW = 256, 1024
_REDUCTIONS = (Moments(), Quantiles(accuracy=1e-3), NotFinite())


@dataclass(frozen=True)
class Plan:
    """How an ensemble is cut up, and what it takes.

    Parameters
    ----------
    samples, block : int
        Networks in all, and in one block.
    seconds : float
        Of processor time for one block, measured on one here.
    bytes : int
        That come back from one block.
    workers : int
        That compute blocks at the same time.

    Examples
    --------
    >>> print(Plan(samples=10**9, block=8192, seconds=0.5, bytes=6000, workers=100))
    1000000000 networks in 122071 blocks of 8192, 0.5 s a block as measured here, 732 MB to send back: about 0.17 hours on 100 workers
    """

    samples: int
    block: int
    seconds: float
    bytes: int
    workers: int

    @property
    def blocks(self) -> int:
        """How many there are."""
        return -(-self.samples // self.block)

    @property
    def hours(self) -> float:
        """All workers at once, each as fast as this machine's core."""
        return self.blocks * self.seconds / min(self.workers, self.blocks) / 3600

    def __str__(self) -> str:
        return (
            f"{self.samples} networks in {self.blocks} blocks of {self.block}, {self.seconds:.2g} s a block as measured here, "
            f"{self.blocks * self.bytes / 1e6:.3g} MB to send back: about {self.hours:.2g} hours on {_counted(self.workers)}"
        )


def _counted(workers: int) -> str:
    return f"{workers} worker{'s' * (workers > 1)}"


class _Enough(Exception):
    """The first blocks are there."""


def measured(run: Callable[..., Any], samples: int, shape: tuple[int, ...], workers: int) -> Plan:
    """The plan of ``run(samples=, workers=, progress=)``, which is stopped after its first blocks."""
    seen: list[tuple[float, int]] = [(process_time(), 0)]

    def watch(finished: int, _: int) -> None:
        seen.append((process_time(), finished))
        if len(seen) > 2:  # the first compiles
            raise _Enough

    with suppress(_Enough):
        run(samples=samples, workers=1, progress=watch)
    block = seen[1][1]
    values = np.random.default_rng(0).standard_normal((block, 1, *shape))
    size = sum(array.nbytes for reduction in _REDUCTIONS for array in reduction.part(values).values())
    return Plan(samples, block, seen[-1][0] - seen[-2][0], size, workers)


def ends(x: np.ndarray) -> np.ndarray:
    """The first neuron and the norm over √n, for each input; shape (samples, 2, inputs)."""
    return np.stack([x[:, 0, :], np.sqrt(np.mean(x**2, axis=1))], axis=1)


def is_large(samples: int, d: Derivation) -> bool:
    """Whether all states are too many to keep."""
    return samples * int(d.architecture.width) * d.architecture.coordinates > LARGE


def require_short(
    options: argparse.Namespace, d: Derivation, draw: Callable[[int, int], object], workers: int | Executor
) -> None:
    """Refuse what would take longer than ``--hours``, by a run of few layers where there are many.

    Parameters
    ----------
    options : Namespace
    d : Derivation
    draw : callable
        From a number of samples and one of layers to their states.
    workers : int or Executor

    Raises
    ------
    ValueError
        With the estimate.
    """
    if not d.architecture.width.is_Integer:
        return  # refused where it is drawn
    numbers = int(d.architecture.width) * d.architecture.coordinates
    samples, layers = min(options.samples, max(1, _FEW // numbers)), min(options.depth, _PROBED)
    if options.samples * options.depth * numbers <= LONG:
        return
    seconds = []
    for _ in range(2):  # the first compiles
        start = process_time()
        draw(samples, layers)
        seconds.append(process_time() - start)
    several = workers_of(workers)
    hours = seconds[-1] / (samples * layers) * options.samples * options.depth / several / 3600
    _require_hours(options, "networks" if options.of == "network" else "paths", hours, several)


def _require_hours(options: argparse.Namespace, what: str, hours: float, workers: int) -> None:
    if hours > options.hours:
        steps = "layers" if options.of == "network" else "steps"
        raise ValueError(
            f"{options.samples} {what} of {options.depth} {steps} would take about {hours:.2g} hours on {_counted(workers)}, more "
            f"than --hours {options.hours:g}; take fewer, more workers, or a larger --hours"
        )


def run_large(
    options: argparse.Namespace,
    d: Derivation,
    start: dict[str, Any],
    time: float,
    workers: int | Executor,
    progress: Callable[[int, int], None],
) -> int:
    """Print the plan, and unless that was all that was asked for, draw.

    Raises
    ------
    ValueError
        If it takes longer than is allowed, with the estimate.
    """
    network, depth, probed = d.architecture, options.depth, min(options.depth, _PROBED)
    common = {"t": time, "seed": options.seed, "method": options.method, "record": ends, "reduce": _REDUCTIONS, **start}
    run = partial(simulate_network, network, depth, at=[depth], **common)
    few = partial(simulate_network, network, probed, at=[probed], **common)
    plan = measured(few, options.samples, (2, network.coordinates), workers_of(workers))
    plan = replace(plan, seconds=plan.seconds * depth / probed)
    if not options.plan:
        _require_hours(options, "networks", plan.hours, plan.workers)
    print(f"plan: {plan}", file=sys.stderr, flush=True)
    if options.plan:
        return 0
    moments, quantiles, (lost, _) = run(
        samples=options.samples, workers=workers, checkpoint=options.checkpoint, progress=progress
    )
    if lost:
        print(
            f"deeplimits: {lost} of {options.samples} networks are not finite at t = {time:g}; means have no value, quantiles count them",
            file=sys.stderr,
        )
    low, middle, high = (np.asarray(q).reshape(2, -1) for q in quantiles([0.05, 0.5, 0.95]))
    mean, error = (np.asarray(v).reshape(2, -1) for v in (moments.mean, moments.error))
    rows = [
        {
            "of": name,
            "input": k + 1,
            "mean": float(mean[row, k]),
            "standard_error": float(error[row, k]),
            "quantiles": {"0.05": float(low[row, k]), "0.5": float(middle[row, k]), "0.95": float(high[row, k])},
        }
        for row, name in enumerate(("state of neuron 1", "norm / sqrt(width)"))
        for k in range(network.coordinates)
    ]
    head = {
        "samples": options.samples,
        "not_finite": int(lost),
        "width": int(network.width),
        "inputs": network.coordinates,
    }
    if options.json:
        put_json({**head, "t": time, "statistics": rows})
    else:
        show(rows, heading(head["samples"], head["width"], head["inputs"], time))
    return 1 if lost else 0


def show(rows: list[dict[str, Any]], title: str) -> None:
    """The statistics as text."""
    print(title)
    several = any(row["input"] > 1 for row in rows)
    for row in rows:
        which = f", input {row['input']}" if several else ""
        low, middle, high = row["quantiles"].values()
        print(
            f"{row['of']}{which}: mean {row['mean']:.5g} ± {row['standard_error']:.2g}, quantiles 5 % {low:.5g}, 50 % {middle:.5g}, 95 % {high:.5g}"
        )
