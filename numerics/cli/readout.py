"""The command on outputs: the law of a random readout of the last layer."""

from __future__ import annotations

import argparse
import sys

import numpy as np

from derivations import Derivation
from numerics.cli.output import density_columns, put_law
from numerics.cli.progress import slow_bar


def run_output(options: argparse.Namespace, d: Derivation, inputs: np.ndarray | None, x0: float, t: float) -> int:
    """Print density and distribution function of an output, or its quantiles."""
    from numerics.outputs import output_law

    out = options.file
    q = [] if options.quantiles is None else _numbers(options.quantiles, "quantiles")
    if not all(0 < p < 1 for p in q):
        raise ValueError(f"quantiles are asked for at probabilities between 0 and 1, got {options.quantiles[:40]}")
    with slow_bar("law of the output") as progress:
        law = output_law(
            d,
            x0=x0 if inputs is None else _states_of(inputs, d),
            t=t,
            of=None if options.of is None else _numbers(options.of, "of"),
            variance=options.readout_variance,
            bias_variance=options.readout_bias_variance,
            samples=options.samples,
            seed=options.seed,
            progress=progress,
        )
    print(f"{law.name}: standard deviation {law.std():.10g}", file=sys.stderr)
    if law.error > 0:
        print(f"{law.remark or 'solved numerically'}; error of a probability {law.error:.1g}", file=sys.stderr)
    for location, mass in law.atoms:
        print(f"atom at {location:.10g} with probability {mass:.10g}", file=sys.stderr)
    asked = options.quantiles is not None
    columns = {"q": np.array(q), "x": law.ppf(q) + 0.0} if asked else density_columns(law, options.points)
    put_law(options, law, columns, {"t": t, "standard_deviation": law.std()}, out)
    return 0


def _states_of(inputs: np.ndarray, d: Derivation) -> np.ndarray:
    """States of neurons, shape (width, m), whose second moments are those of the inputs, aaᵀ over their dimension."""
    gram = inputs @ inputs.T / inputs.shape[1]
    values, vectors = np.linalg.eigh(gram)
    n = int(d.architecture.width) if d.architecture.width.is_Integer else len(inputs)
    if n < len(inputs):
        raise ValueError(
            f"{len(inputs)} inputs need as many neurons for their second moments, got width {n}; use --x0, or a larger width"
        )
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return np.asarray(np.sqrt(n) * np.vstack([root, np.zeros((n - len(inputs), len(inputs)))]))


def _numbers(text: str, name: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not np.isfinite(found).all():
        raise ValueError(f"{name} must be numbers between commas, got {text[:40]!r}")
    return found
