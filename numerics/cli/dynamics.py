"""The command on training at infinite width: its equations, or gradient descent on given data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from derivations import Recipe, training_limit
from numerics.cli.files import read_targets
from numerics.cli.output import as_json, put, put_json, wants_json
from numerics.cli.progress import samples_bar, slow_stage
from numerics.cli.scaling import put_derived

#: What only a training has.
_OF_TRAINING = ("depth", "steps", "learning_rate", "momentum", "richness", "limits", "t")


def run_dynamics(options: argparse.Namespace, network: Callable[[argparse.Namespace], Recipe]) -> int:
    """Print the equations, or losses and outputs beside the steps."""
    if options.order not in (None, "width"):
        raise ValueError(f"training is solved at infinite width, got --order {options.order}; leave it out")
    if options.data is None:
        given = [name.replace("_", "-") for name in _OF_TRAINING if getattr(options, name) is not None]
        if given:
            raise ValueError(f"--{given[0]} is of a training, which needs --data; without it the equations are printed")
        as_json(options)
        net = network(options)
        with slow_stage("derivation"):
            found = training_limit(net)
        put_derived(found, options)
        return 0
    if options.format is not None:
        raise ValueError("--format is that of the equations, which are printed without --data; leave one of both out")
    out = options.file
    inputs, targets = read_targets(options.data)
    chosen = {name: getattr(options, name) for name in _OF_TRAINING if getattr(options, name) is not None}
    if "limits" in chosen:
        chosen["limits"] = tuple(word.strip() for word in chosen["limits"].split(","))
    from numerics.dynamics import solve_training

    net, depth = replace(network(options), inputs=1), chosen.pop("depth", 4)
    with samples_bar("steps of all runs") as progress:
        run = solve_training(net, inputs, targets, depth, seed=options.seed, progress=progress, **chosen)
    print(
        f"loss {run.losses[0]:.6g} at the start, {run.losses[-1]:.6g} after {len(run.losses) - 1} steps",
        file=sys.stderr,
    )
    if wants_json(options):
        put_json({"losses": run.losses, "outputs": run.outputs, "error": run.error}, out)
    else:
        put(_table(run), out)
    return 0


def _table(run: Any) -> str:
    count = run.outputs.shape[1]
    head = ["step", "loss", *(f"f_{k + 1}" for k in range(count)), *(f"error_{k + 1}" for k in range(count))]
    rows = np.column_stack([np.arange(len(run.losses)), run.losses, run.outputs, run.error])
    return ",".join(head) + "\n" + "".join(",".join(f"{v:.10g}" for v in row) + "\n" for row in rows)
