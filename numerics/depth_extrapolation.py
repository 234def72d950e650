r"""What networks of finite depth say of their limit, with what the depth adds separated from the noise."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derivations.architectures import Recipe
from numerics import given
from numerics.depth_levels import NetworkLevels
from numerics.ensembles import Moments, Seed, seed_sequence
from numerics.expectations.budget import Budget
from numerics.expectations.levels import COARSEST
from numerics.networks import simulate_network
from numerics.networks.initial import checked_start
from numerics.networks.simulate import ensemble
from numerics.statistics import Estimate, richardson


@given.checked(
    architecture=given.network,
    function=given.function,
    depth=given.whole,
    samples=given.whole,
    t=given.number,
    tol=given.optional(given.size),
)
def expect_network(
    architecture: Recipe,
    function: Callable[[Any], Any],
    depth: int = 16,
    samples: int = 10_000,
    x0: ArrayLike | None = None,
    inputs: ArrayLike | None = None,
    t: float = 1.0,
    extrapolate: bool = True,
    seed: Seed = 0,
    workers: int | Executor = 1,
    tol: float | None = None,
) -> Budget:
    r""":math:`\mathbb{E} f(X_t)` of the limit of depth, from networks of L and 2L layers, or of as many depths as a tolerance needs.

    The expectation at depth L is :math:`m + c/L + O(L^{-2})`, so :math:`m_L - m_{2L} = c/2L + O(L^{-2})` is what the depth 2L still adds.
    Extrapolated, :math:`2m_{2L} - m_L`, only the next order is left, of a size near :math:`|m_L - m_{2L}|/L`.

    Parameters
    ----------
    architecture : Recipe
        As for :func:`numerics.networks.simulate_network`.
    function : callable
        From states of shape (samples, n, m) to (samples,).
    depth, samples : int
        L, and networks at each of the two depths.
    x0, inputs, t, seed, workers
        As for :func:`numerics.networks.simulate_network`.
    tol : float, optional
        In place of depth, samples and ``extrapolate``: root mean square error, statistical and of the depth together, by multilevel Monte
        Carlo: few deep networks beside shallow ones with the same random numbers (:mod:`numerics.depth_levels`). With one matrix in a
        layer the cost is :math:`\mathrm{tol}^{-2}` times a squared logarithm; the method that is reported says the measured rate.
    extrapolate : bool
        Whether to remove the first order in 1/L, at twice the noise.

    Returns
    -------
    Budget

    Raises
    ------
    ValueError
        If depth and width grow together, where twice as many layers take twice the time; with ``tol``, if a matrix is not Gaussian or
        it would take more than an hour.

    Examples
    --------
    >>> from derivations import ResNet, identity
    >>> square = lambda x: x[:, 0, 0] ** 2
    >>> plain = expect_network(ResNet(identity, width=1), square, 8, 20_000, x0=1.0, extrapolate=False)
    >>> plain.depth_bias > plain.statistical  # (1 + 1/16)^16 instead of e
    True
    """
    if architecture.time_of(depth) is not None:
        raise ValueError(
            f"the time of {depth} layers is not free where depth and width grow together, so more layers are another time; compare widths instead, "
            "with simulate_network or simulate_gram"
        )
    if tol is not None:
        if not (np.isfinite(tol) and tol > 0):
            raise ValueError(f"tol must be finite and positive, got {tol}")
        begin = lambda width: checked_start(x0, inputs, 1.0, 1, width, architecture)  # noqa: E731
        networks = ensemble(architecture, COARSEST, begin, "state", t)
        if networks.start.states is not None:
            networks = replace(
                networks,
                start=replace(networks.start, states=networks.start.states.reshape(networks.start.states.shape[-2:])),
            )
        return NetworkLevels(networks, function, seed, workers).run(float(tol))
    if depth < 1:
        raise ValueError(
            f"depth must be at least 1, got {depth}: networks of so many layers are compared with ones of twice as many"
        )
    root = seed_sequence(seed)
    estimates = []
    for index, layers in enumerate((depth, 2 * depth)):
        summary = simulate_network(
            architecture,
            layers,
            samples,
            x0=x0,
            inputs=inputs,
            t=t,
            seed=np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, index)),
            workers=workers,
            at=[layers],
            record=function,
            reduce=Moments(),
        )
        if summary.mean.shape != (1,):
            raise ValueError(f"the function must give one number for each sample, got shape {summary.mean.shape[1:]}")
        found = float(summary.mean[0]), float(summary.error[0])
        if not np.isfinite(found).all():
            raise ValueError(
                f"the mean over networks of {layers} layers is {found[0]:g} with a standard error of {found[1]:g}: the function is infinite, "
                "no number or without a finite square on some of them; take a smaller start or time, or a bounded function"
            )
        estimates.append(Estimate(*found))
    coarse, fine = estimates
    gap = coarse - fine
    seen = float(np.hypot(gap.value, gap.error))  # what is within the noise may be there
    chosen = richardson(coarse, fine) if extrapolate else fine
    return Budget(
        chosen.value,
        chosen.error,
        depth_bias=seen / depth if extrapolate else seen,
        samples=2 * samples,
        cost=3 * depth * samples,
        method=f"networks of {depth} and {2 * depth} layers" + (", extrapolated" if extrapolate else ""),
    )
