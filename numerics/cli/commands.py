"""What each command does, once its options are read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np

from derivations import Derivation
from numerics.cli.destination import DOCUMENTS
from numerics.cli.files import MOST_ROWS, read_inputs, read_jacobians, read_labelled, read_samples
from numerics.cli.output import (
    as_json,
    density_columns,
    heading,
    put,
    put_json,
    put_law,
    save_states,
    shown_table,
    wants_json,
)
from numerics.cli.progress import plain_progress, samples_bar, slow_stage, stage
from numerics.cli.typed import (
    command_of,
    derivation_of,
    inputs_of,
    network_of,
    require_memory,
    start_of,
    summary_of,
    text_of,
    time_of,
    with_option,
    workers_of,
)
from numerics.cli.values import NARROW, WIDE, Usual

_SUFFIXES = DOCUMENTS | {".html": "html"}


def _derive(options: argparse.Namespace) -> int:
    as_json(options)
    out = options.file
    kind = options.format or (_SUFFIXES[out.suffix] if out else "text")
    if options.style == "theorem" and (out is None or out.suffix != ".tex"):
        raise ValueError(
            "a theorem is written as LaTeX; name its file in --out, such as --style theorem -o theorem.tex"
        )
    d = derivation_of(options, options.inputs)
    with slow_stage("derivation"):
        d.steps  # noqa: B018  made here, while it is announced
    if out and _SUFFIXES.get(out.suffix) == kind != "html":
        d.write(out, options.style)
    else:
        put(_FORMATS[kind](d, options), out)
    return 0


def _html(d: Derivation, options: argparse.Namespace) -> str:
    from numerics.report.page import Page

    return Page(d, summary_of(options), command=command_of(options)).html()


_FORMATS: dict[str, Callable[[Derivation, argparse.Namespace], str]] = {
    "text": lambda d, _: str(d),
    "latex": lambda d, _: d.latex() + "\n",
    "typst": lambda d, _: d.typst() + "\n",
    "json": lambda d, _: d.to_json(),
    "html": _html,
}


def _density(options: argparse.Namespace) -> int:
    from numerics.limit_distribution import distribution, has_distribution

    out = options.file
    d = derivation_of(options)
    of: Any = d
    x0 = start_of(options)
    if d.order == "depth" and not has_distribution(d.limit) and has_distribution(d.gram):
        print("density of V, the mean square of a layer's neurons, from V = x0²", file=sys.stderr)
        of, x0 = d.gram if d.gram_law is None else d.gram_law, x0**2
    elif not has_distribution(d.limit):
        at = "" if options.width == "1" else f"; at width 1: {with_option(options, '--width', '1')}"
        raise ValueError(
            f"{d.title} has no density of one number: it is that of a neuron with one input, or of a mean square V that moves by itself{at}; "
            "several are drawn by deeplimits simulate --of sde"
        )
    with slow_stage("density"):
        law = distribution(of, x0=x0, t=time_of(options))
        columns = density_columns(law, options.points)
    if law.error > 0:
        print(f"no closed form known; solved by Fokker–Planck, error {law.error:.1g} in L¹", file=sys.stderr)
    for location, mass in law.atoms:
        print(f"atom at {location:.10g} with probability {mass:.10g}", file=sys.stderr)
    put_law(options, law, columns, {"x0": x0, "t": time_of(options)}, out)
    return 0


def _output(options: argparse.Namespace) -> int:
    from numerics.cli.readout import run_output

    inputs = inputs_of(options)
    d = derivation_of(options, 1 if inputs is None else len(inputs))
    return run_output(options, d, inputs, start_of(options), time_of(options))


def _drawn(
    options: argparse.Namespace, d: Derivation, start: dict[str, Any], time: float, samples: int, depth: int, **run: Any
) -> np.ndarray:
    """States of networks, or of paths of their limit from where networks start."""
    from numerics.networks import simulate_network
    from numerics.paths import simulate_sde

    run["samples"] = samples
    if options.of == "network":
        return simulate_network(d.architecture, depth, t=time, seed=options.seed, method=options.method, **start, **run)
    begin, path = np.random.SeedSequence(options.seed).spawn(2)
    at = simulate_network(d.architecture, 0, samples, seed=begin, **start).reshape(samples, -1)
    states = simulate_sde(d.limit, x0=at, t=time, steps=depth, seed=path, **run)
    return states.reshape(samples, int(d.architecture.width), -1)


def _simulate(options: argparse.Namespace) -> int:
    from numerics.cli.large import is_large, require_short, run_large, show

    inputs = inputs_of(options)
    out = options.file
    d = derivation_of(options, 1 if inputs is None else len(inputs))
    planned = (
        options.of == "network"
        and d.architecture.width.is_Integer
        and (options.plan or (out is None and is_large(options.samples, d)))
    )
    require_memory(1 if planned else options.samples, d)
    time = time_of(options, d if options.of == "network" else None)
    start = {"x0": start_of(options)} if inputs is None else {"inputs": inputs}
    with workers_of(options) as workers, samples_bar("networks" if options.of == "network" else "paths") as progress:
        if planned:
            return run_large(options, d, start, time, workers, progress)
        draw = partial(_drawn, options, d, start, time)
        require_short(options, d, draw, workers)
        run = {"workers": workers, "checkpoint": options.checkpoint, "progress": progress}
        states = draw(options.samples, options.depth, **run)
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
    rows = _statistics(states)
    if options.json:
        head = {
            "samples": len(states),
            "not_finite": int(lost.sum()),
            "width": states.shape[1],
            "inputs": states.shape[2],
        }
        put_json({**head, "t": time, "statistics": rows})
        return 1 if lost.any() else 0
    show(rows, heading(len(states), states.shape[1], states.shape[2], time))
    return 1 if lost.any() else 0


def _statistics(states: np.ndarray) -> list[dict[str, Any]]:
    """Of a neuron and of the norm, for each input: mean, standard error, quantiles."""
    largest = np.max(np.abs(states)) or 1.0  # whose square may leave the range of numbers
    norms = np.hypot.reduce(states / np.sqrt(states.shape[1]), axis=1)
    rows = []
    for name, values in (("state of neuron 1", states[:, 0, :]), ("norm / sqrt(width)", norms)):
        for k, column in enumerate(values.T, 1):
            mean, error = (column / largest).mean(), (column / largest).std(ddof=1) / np.sqrt(len(column))
            quantiles = dict(zip(("0.05", "0.5", "0.95"), np.quantile(column, (0.05, 0.5, 0.95)), strict=True))
            rows.append(
                {
                    "of": name,
                    "input": k,
                    "mean": mean * largest,
                    "standard_error": error * largest,
                    "quantiles": quantiles,
                }
            )
    return rows


def _kernel(options: argparse.Namespace) -> int:
    from numerics.kernels import kernel_matrix

    if options.inputs is not None and options.random is not None:
        raise ValueError("--inputs and --random are given both; the kernel is that of one of them")
    out = options.file
    drawn = np.random.default_rng(options.seed).standard_normal(options.random or (3, 4))
    rows = drawn if options.inputs is None else read_inputs(options.inputs, most=MOST_ROWS)
    network = network_of(options)
    grid = network.positions
    if rows.shape[1] % prod(grid):
        raise ValueError(
            f"an input of {rows.shape[1]} numbers has none for each of {'×'.join(map(str, grid))} positions; give it channels times positions"
        )
    time = 1.0 if options.t is None else options.t
    with slow_stage("kernel"):
        found = kernel_matrix(
            network,
            rows.reshape(len(rows), -1, *grid) if grid else rows,
            t=time,
            kind=options.of,
            tolerance=options.tolerance,
            workers=options.workers,
        )
    if wants_json(options):
        put_json({"kind": options.of, "t": time, "matrix": found}, out)
    elif out is None:
        put("".join(",".join(f"{v:.17g}" for v in row) + "\n" for row in found), None)
    else:
        save_states(found, out)
    return 0


#: The share of the data on which a training is tested.
_TESTED = 0.2


def _train(options: argparse.Namespace) -> int:
    from numerics.training import trainability

    out = options.file
    network = network_of(options)
    inputs, labels = _digits() if options.data is None else read_labelled(options.data)
    if inputs.shape[1] % prod(network.positions):
        raise ValueError(
            f"an input of {inputs.shape[1]} numbers has none for each of {'×'.join(map(str, network.positions))} positions; give it channels "
            "times positions"
        )
    inputs = (inputs - inputs.mean()) / (inputs.std() or 1.0)
    order = np.random.default_rng(options.seed).permutation(len(inputs))
    tested, seen = np.split(order, [int(_TESTED * len(order))])
    found = trainability(
        network,
        options.depth,
        inputs[seen].reshape(len(seen), -1, *network.positions),
        labels[seen],
        (inputs[tested].reshape(len(tested), -1, *network.positions), labels[tested]) if len(tested) else None,
        options.learning_rate,
        options.steps,
        options.batch,
        options.optimizer,
        1.0 if options.t is None else options.t,
        seed=options.seed,
        checkpoint=options.checkpoint,
        progress=lambda depth: plain_progress(f"depth {depth}"),
        stage=slow_stage,
    )
    if options.json:
        put_json({"rows": [row.data() for row in found.rows]})
    else:
        print(found)
    if out is not None:
        rows = (f"{row.depth},{k + 1},{v:.9g}\n" for row in found.rows for k, v in enumerate(row.losses))
        put("depth,step,loss\n" + "".join(rows), out)
    return 0 if all(len(row.losses) == options.steps for row in found.rows) else 1


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return pixels, labels


def _validate(options: argparse.Namespace) -> int:
    from numerics.validation import validate

    d = derivation_of(options, options.inputs)
    return shown_table(validate(d, samples=options.samples, quick=options.quick, **_setting(options)), options.json)


def _compare(options: argparse.Namespace) -> int:
    from derivations.backward import jacobian
    from numerics.validation import compare

    samples, given = read_samples(options.samples), _setting(options)
    if options.start is not None:
        if options.x0 is not None:
            raise ValueError("--start and --x0 are given both; networks start from one of them")
        given["x0"] = read_inputs(options.start)
    if options.jacobians is None:
        states, positions = samples.shape[2] if samples.ndim == 3 else 1, prod(network_of(options).positions)
        if states % positions:
            raise ValueError(
                f"samples of {states} states a neuron hold none for each of {positions} positions; give {positions} for each input"
            )
        d = derivation_of(options, states // positions)
        return shown_table(compare(d, samples, **given), options.json)
    derivatives = read_jacobians(options.jacobians)
    with slow_stage("Jacobian"):
        found = jacobian(network_of(options), options.order)
    return shown_table(compare(found, (samples, derivatives), **given), options.json)


def _setting(options: argparse.Namespace) -> dict[str, Any]:
    """What every check asks for."""
    size = {"depth": options.depth, "seed": options.seed, "workers": options.workers}
    return {"x0": start_of(options), "t": time_of(options), "stage": slow_stage, **size}


def _claims(options: argparse.Namespace) -> int:
    from numerics.validation import check_claims, find_claims
    from numerics.validation.catalogue import listed, said_of

    claims = find_claims(options.source, options.claim, options.quick)
    if options.list:
        if options.json:
            put_json([said_of(claim) | {"quick": not claim.slow} for claim in claims])
        else:
            print(listed(claims))
        return 0
    found = check_claims(claims, options.seed, options.workers, slow_stage)
    print(found.to_json() if options.json else found)
    return 0 if found else 1


def _report(options: argparse.Namespace) -> int:
    out = options.file
    inputs, text = inputs_of(options), text_of(options)
    from numerics.report import Inputs, Start, Text, draws_networks, report

    options.depth = options.depth or (1000 if text is None else Text.depth)
    if isinstance(options.width, Usual):
        options.width = str(Text.width) if text is not None else NARROW if inputs is None else WIDE
    neurons, options.width = options.width, options.width if text is None else "oo"
    d = derivation_of(options, 1 if inputs is None else len(inputs))
    options.t = time_of(options)
    options.x0 = start_of(options) if inputs is None and text is None else None
    size = {"t": options.t, "depth": options.depth, "seed": options.seed, "workers": options.workers}
    if options.samples:
        size["samples"] = options.samples
    elif inputs is None and text is None and d.order == "depth" and d.architecture.width.is_Integer:
        size["samples"] = Start.samples_of(options.depth * int(d.architecture.width) * d.architecture.coordinates)
    elif inputs is not None and d.architecture.width.is_Integer:
        size["samples"] = Inputs.samples_of(int(d.architecture.width))
    of: Start | Inputs | Text = Start(x0=start_of(options), **size) if inputs is None else Inputs(inputs, **size)
    if text is not None:
        options.width, of = neurons, Text(text, int(neurons), **size)
    if d.order == "joint":  # the width goes to infinity, whatever it is
        options.width = None
    if text is None and not draws_networks(d):  # pictures and checks choose how many networks and how deep
        options.depth, of_samples = None, None
    else:
        of_samples = of.samples
    page = report(d, of, summary_of(options, of_samples), command_of(options), stage)
    put(page.html(), out)
    if options.json:
        put_json({"report": str(out), "title": d.title})
    else:
        print(out)
    return 0


def _scalings(options: argparse.Namespace) -> int:
    from numerics.cli.scaling import run_scalings

    return run_scalings(options, network_of)


def _choose(options: argparse.Namespace) -> int:
    from numerics.cli.scaling import run_choose

    return run_choose(options, network_of)


def _jacobian(options: argparse.Namespace) -> int:
    from numerics.cli.scaling import run_jacobian

    return run_jacobian(options, network_of, _setting)


def _dynamics(options: argparse.Namespace) -> int:
    from numerics.cli.dynamics import run_dynamics

    return run_dynamics(options, network_of)


#: Every command by its name.
COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "derive": _derive,
    "density": _density,
    "output": _output,
    "simulate": _simulate,
    "kernel": _kernel,
    "train": _train,
    "dynamics": _dynamics,
    "validate": _validate,
    "compare": _compare,
    "claims": _claims,
    "scalings": _scalings,
    "choose": _choose,
    "jacobian": _jacobian,
    "report": _report,
}
