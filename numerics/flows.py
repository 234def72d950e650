"""Deterministic limits and moment equations as ordinary differential equations, with dense output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import OdeSolution, solve_ivp

from derivations.calculus.moments import MomentEquations
from derivations.diffusion import Flow
from derivations.errors import kind_of
from derivations.limits.width import KernelFlow
from derivations.notation.printed import Legible
from numerics import given
from numerics.compile.points import compile_at_points, has_points, tolerances
from numerics.compile.second_moments import Velocity, kept_covariances
from numerics.linalg import one_thread

Array = NDArray[np.float64]

_SHOWN = 6  # states in a line of text
_SETS = 3  # of points, over which the error of means is seen

_LARGE = 1e4  # of a state that has left every size at which limits are used
_SPACINGS = 1e4  # steps of the integrator are not shorter than a few


@dataclass(frozen=True, repr=False)
class FlowSolution(Legible):
    """A flow's path, to be asked for at any time up to its end.

    Parameters
    ----------
    flow : Flow
    end : float
        Up to when it is known.
    exploded : bool
        Whether the path left every bound before the time that was asked for; ``end`` is then the last time before.
    """

    flow: Flow
    end: float
    exploded: bool
    _dense: OdeSolution
    _again: Callable[[int], OdeSolution] | None = None

    def __str__(self) -> str:
        names, last = self.flow.states, self(self.end)
        shown = ", ".join(f"{name} = {value:.6g}" for name, value in list(zip(names, last, strict=True))[:_SHOWN])
        more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"{'exploded after' if self.exploded else 'at'} t = {self.end:g}: {shown}{more}"

    def __call__(self, t: ArrayLike) -> Array:
        """States at times in [0, end], shape (..., states)."""
        times = np.asarray(t, dtype=float)
        if np.any((times < 0) | (times > self.end)) or np.any(np.isnan(times)):
            why = ", where it explodes" if self.exploded else ""
            raise ValueError(f"the path is known for times from 0 to {self.end:g}{why}, got {times}")
        return np.moveaxis(self._dense(times.ravel()), 0, -1).reshape(*times.shape, len(self.flow.states))

    def of(self, state: Any, t: ArrayLike) -> Array:
        """One state, by its symbol."""
        return self(t)[..., self.flow.states.index(state)]

    def error(self, t: ArrayLike) -> Array:
        """What means over points, as over a softmax, make of the states' errors: three standard deviations of paths over independent sets of points.

        The path is integrated again when this is first asked; 0 where the flow holds no such mean. The integrator's own error is as ``rtol`` says.
        """
        path = self(t)
        paths = [path, *(other(t) for other in self._others)]
        found: Array = 3 * np.std(paths, axis=0, ddof=1) if len(paths) > 1 else np.zeros_like(path)
        return found

    @cached_property
    def _others(self) -> list[FlowSolution]:
        if self._again is None:
            return []
        return [FlowSolution(self.flow, self.end, self.exploded, self._again(points)) for points in range(1, _SETS)]


def _leaves_at_once(t: float, x: Array, velocity: Array) -> bool:
    """Whether the states are large and grow by their own size before the next few numbers after a time: where a flow explodes."""
    large = np.abs(x) > _LARGE
    outward = large & (x * velocity > 0)
    return bool(np.any(np.abs(x[outward]) < _SPACINGS * np.spacing(t) * np.abs(velocity[outward])))


@given.checked(x0=given.array, rtol=given.positive, atol=given.positive, bound=given.positive)
def solve_flow(
    flow: Flow, x0: ArrayLike, t: float = 1.0, rtol: float = 1e-10, atol: float = 1e-12, bound: float = 1e12
) -> FlowSolution:
    r"""Integrate :math:`\dot x = b(x, t)`: kernel flows, moment equations, any deterministic limit.

    Parameters
    ----------
    flow : Flow
        Without free parameters.
    x0 : array, shape (states,)
    t : float
        Time at the end, positive.
    rtol, atol : float
        Tolerances of the integrator (Dormand–Prince, order 8); at least 1e-4 where experts are chosen by their scores, whose means are sums
        over points.
    bound : float
        A state beyond it counts as an explosion; so does one that doubles before the next numbers after its time.

    Raises
    ------
    ValueError
        If parameters are left, the start does not fit, the velocity is not finite there, t ≤ 0, or the integrator fails.

    Examples
    --------
    >>> from derivations import ResNet, relu, width_limit
    >>> import math
    >>> path = solve_flow(width_limit(ResNet(relu, width=math.inf)), [1.0])
    >>> path(1.0)
    array([1.64872127])
    """
    if not isinstance(flow, Flow):
        raise ValueError(
            f"expected a limit without noise (a Flow), got {kind_of(flow)}; diffusions are solved by solve_fokker_planck or simulate_sde"
        )
    if flow.parameters:
        names = ", ".join(sorted(map(str, flow.parameters)))
        raise ValueError(f"the flow has the parameters {names} left; substitute numbers for them")
    start = np.atleast_1d(np.asarray(x0, dtype=float))
    if start.shape != (len(flow.states),) or not np.all(np.isfinite(start)):
        raise ValueError(f"the start must be {len(flow.states)} finite numbers {flow.states}, got {x0!r}")
    if not given.positive.holds(t):
        raise ValueError(f"the time t must be a positive finite number, got {t!r}")

    def integrated(points: int, end: float) -> Any:
        return _integrated(flow, start, end, rtol, atol, bound, points)

    rtol, atol = tolerances(flow.drift, rtol, atol)
    solved = integrated(0, float(t))
    end = float(solved.t[-1])

    def again(points: int) -> OdeSolution:
        return integrated(points, end).sol

    return FlowSolution(flow, end, solved.status != 0, solved.sol, again if has_points(flow.drift) else None)


@lru_cache(maxsize=16)
def _compiled(arguments: tuple[Any, ...], drift: Any, points: int) -> Callable[..., Any]:
    """A velocity, which the next start has too."""
    return compile_at_points(arguments, tuple(drift), points)


def _integrated(flow: Flow, start: Array, t: float, rtol: float, atol: float, bound: float, points: int) -> Any:
    velocity = _compiled((*flow.states, flow.time), flow.drift, points)

    def rates(time: float, x: Array) -> Array:
        return np.array(velocity(*x, time), dtype=float)

    right_side: Velocity = rates
    if isinstance(flow, KernelFlow) and flow.second:
        right_side, start = kept_covariances(flow, start, rates)

    def escaped(time: float, x: Array) -> float:
        return bound - float(np.max(np.abs(x)))

    escaped.terminal = True  # type: ignore[attr-defined]
    with np.errstate(all="ignore"), one_thread():
        if not np.all(np.isfinite(right_side(0.0, start))):
            raise ValueError(
                f"the velocity is not finite at the start {start} at time 0; start inside the domain, or later"
            )
        solved = solve_ivp(
            right_side, (0.0, t), start, method="DOP853", rtol=rtol, atol=atol, dense_output=True, events=escaped
        )
    # like (T - t)^(-1/2) a state goes no higher than the root of how many doubles there are, which may be below the bound
    if solved.status < 0 and not _leaves_at_once(
        solved.t[-1], solved.y[:, -1], right_side(solved.t[-1], solved.y[:, -1])
    ):
        raise ValueError(f"the flow could not be integrated up to t = {t}: {solved.message}")
    return solved


_EQUATIONS = given.Rule("what moment_equations(...) gives", lambda value: isinstance(value, MomentEquations))
_START = given.Rule("a mapping from the states to numbers", lambda value: isinstance(value, Mapping))


@given.checked(equations=_EQUATIONS, start=_START, rtol=given.positive)
def solve_moments(
    equations: MomentEquations, start: Mapping[Any, float], t: float = 1.0, rtol: float = 1e-10
) -> FlowSolution:
    r"""Moments from a fixed start, by integrating their equations, exact or closed by name.

    Parameters
    ----------
    equations : MomentEquations
        As :func:`derivations.calculus.moments.moment_equations` makes them; without free parameters.
    start : mapping
        Each state's symbol to its value.

    Returns
    -------
    FlowSolution
        In ``equations.symbols``.
    """
    values: Sequence[float] = [float(value) for value in equations.at_start(start)]
    return solve_flow(equations.flow, values, t, rtol=rtol)
