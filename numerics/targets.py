r"""Choosing a parameter of a network so that its output's norm or correlation has a wanted value.

Kernel-shaping methods solve for the shape of an activation in the map of an infinitely wide network (DKS: Martens et al. 2021; TAT: Zhang et al.
2022). Here the derived limit is solved, in which networks fluctuate: the mean over networks of this width can be asked for, or a quantile.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np

from derivations import derive
from derivations.activations import Activation
from derivations.architectures import Recipe
from derivations.decimals import exact_decimals
from derivations.derivation import Derivation
from derivations.diffusion import Diffusion, Flow
from derivations.errors import shown
from derivations.gaussian import SoftmaxMean
from derivations.limits import JointMoments
from derivations.limits.collapse import require_homogeneous, unshaped
from derivations.limits.gram import gram_matrix
from derivations.symbols import correlation
from derivations.symbols import depth as layers
from derivations.symbols import time as free_time
from numerics import given
from numerics.choices import Choice, can_be, usual_bounds
from numerics.compile import compile_expression
from numerics.compile.parameters import with_number
from numerics.crossings import COARSE, FINE, MOST_TURNS, crossings, spaced, turns
from numerics.densities import FrozenDistribution
from numerics.ensembles import Progress
from numerics.flows import solve_flow
from numerics.fokker_planck import SolvedDistribution, solve_fokker_planck
from numerics.limit_distribution import depends_on_time, distribution, has_distribution
from numerics.outcomes import ExplosionWarning
from numerics.paths import simulate_sde
from numerics.units import Family

_STEPS = 200
_ROUGH, _FINE = 1e-4, 1e-6  # tolerances of laws whose statistic is far from the wanted value, and of others
_NEAR = 4.0  # times more or less
#: Of the paths and a quarter of the steps show first where the statistic is far from the wanted value, by so many standard errors.
_SHARE, _CLEAR = 16, 8.0
_SEARCH = 4  # simulations that the search between two of the first places usually needs


@given.checked(
    norm=given.optional(given.number),
    correlation=given.optional(given.number),
    quantile=given.optional(given.number),
    norm0=given.number,
    correlation0=given.number,
    samples=given.whole,
    progress=given.optional(given.function),
)
def choose(
    net: Recipe,
    parameter: Any,
    *,
    norm: float | None = None,
    correlation: float | None = None,
    quantile: float | None = None,
    depth: int | None = None,
    t: float | None = None,
    norm0: float = 1.0,
    correlation0: float = 0.0,
    bounds: tuple[float, float] | None = None,
    samples: int = 20_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Choice:
    r"""Solve for a parameter so that the output's norm or correlation has a wanted value.

    Parameters
    ----------
    net : Recipe
        With the parameter as a symbol: a slope, a zoom, the size of a branch. Its width is a number, or infinite.
    parameter : Symbol
        Of the network; or ``symbols.depth``, the number of layers where depth and width go together, or ``symbols.time``, where that is free.
    norm, correlation : float
        One of both: the wanted mean square :math:`V_{11}` of the neurons, of the first position where there are several, or the correlation of
        two inputs.
    quantile : float, optional
        Which quantile over networks has the value; by default their mean has it.
    depth : int, optional
        How many layers, where depth and width go together.
    t : float, optional
        The time, where it is free (1): :math:`L\varepsilon^2`.
    norm0, correlation0 : float
        Where both inputs start, or the positions of one.
    bounds : pair of float, optional
        Between which the parameter is sought: by default 1/100 and 100 for a positive one, 0 and 100 for one that is not negative, both with
        the other sign where that is known, −10 and 10 for others; for a depth from 1 to 100 times the width, or times from 1/100 to 100.
    samples, seed : int
        Of paths, where the statistic has no law of its own.
    progress : callable, optional
        Called with the numbers of simulated paths and of those that are expected; there may be more.

    Returns
    -------
    Choice

    Raises
    ------
    ValueError
        If the value is not reached within the bounds, with the range that is; or what is asked makes no sense.

    Examples
    --------
    >>> import sympy as sp
    >>> from derivations import Network, Weights, epsilon, relu
    >>> c, A, B = sp.Symbol("c", positive=True), Weights("A"), Weights("B", out=12)
    >>> net = Network(lambda x: x + epsilon * c * A(relu(B(x))), width=3, parameters=(c,))
    >>> print(choose(net, c, norm=2, bounds=(0.1, 3)))
    c = 1.17741: the mean of the mean square of the neurons at t = 1 is 2, wanted 2; within the bounds it goes from 1.005 to 90.02
    """
    question = Question(
        net, parameter, norm, correlation, quantile, depth, t, norm0, correlation0, samples, seed, progress
    )
    low, high = question.checked_bounds(bounds)
    return question.solved(low, high)


@dataclass(frozen=True)
class Question:
    """What is asked of a network, as a function of its parameter."""

    net: Recipe
    parameter: Any
    norm: float | None
    correlation: float | None
    quantile: float | None
    depth: int | None
    t: float | None
    norm0: float
    correlation0: float
    samples: int
    seed: int
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if (self.norm is None) == (self.correlation is None):
            raise ValueError(
                f"one of norm and correlation must be given, got norm={self.norm} and correlation={self.correlation}"
            )
        if not isinstance(self.net, Recipe):
            raise ValueError(f"choose expects a network such as ShapedMLP(tanh, a=a), got {shown(self.net)}")
        if self.norm is not None and not 0 < self.norm < np.inf:
            raise ValueError(f"norm must be a positive number, the mean square of the neurons, got {self.norm}")
        if self.correlation is not None and not -1 <= self.correlation <= 1:
            raise ValueError(f"correlation must be from -1 to 1, got {self.correlation}")
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise ValueError(f"quantile must be between 0 and 1, got {self.quantile}")
        if not 0 < self.norm0 < np.inf or not -1 < self.correlation0 < 1:
            raise ValueError(
                f"inputs must start at a positive norm0 and a correlation0 between -1 and 1, got {self.norm0} and {self.correlation0}"
            )
        if not cast(Any, self.net.width).is_number:
            raise ValueError(f"the width must be a number or oo to compare networks, got {self.net.width}")
        if self.of_depth:
            if (self.parameter == layers) != self.is_joint:
                how = (
                    "tied to the width here; ask for symbols.depth"
                    if self.is_joint
                    else "free here; ask for symbols.time"
                )
                raise ValueError(f"the time of all layers is {how}")
            if self.depth is not None or self.t is not None:
                raise ValueError("the depth is sought, and depth or t is given beside it; leave both out")
        elif self.parameter not in self.symbols:
            known = self.net.xreplace({self.parameter: exact_decimals(1)}) != self.net
            raise ValueError(
                f"{'the norm' if self.norm is not None else 'the correlation'} of the output does not depend on {self.parameter}"
                if known
                else f"the network has no parameter {self.parameter}; it has {', '.join(sorted(map(str, self.symbols))) or 'none'}"
            )
        elif self.is_joint == (self.depth is None) or (self.is_joint and self.t is not None):
            raise ValueError(
                "the depth of this network is tied to its width: give depth=, and no t="
                if self.is_joint
                else "the time of all layers is free in this network: give t=, and no depth="
            )
        others = self.symbols - {self.parameter}
        if others:
            raise ValueError(f"the parameters {', '.join(sorted(map(str, others)))} are left free; give them numbers")
        if self.quantile is not None and isinstance(self.process, Flow):
            raise ValueError(
                "at infinite width, or where the noise vanishes, all networks are alike and have no quantiles; leave quantile out"
            )

    @cached_property
    def _reasons(self) -> list[str]:
        """Why the statistic does not exist, where it was asked for and does not."""
        return []

    @cached_property
    def _solved(self) -> list[SolvedDistribution]:
        """The law at the first value of the parameter at which the forward equation had to be solved for it."""
        return []

    @cached_property
    def _family(self) -> list[Family]:
        """The limit and the value of the parameter at which it was solved first, in terms of which others may be seen in other units."""
        return []

    @property
    def of_depth(self) -> bool:
        """Whether the number of layers is sought, or the time where that is free."""
        return self.parameter in (layers, free_time)

    @property
    def is_joint(self) -> bool:
        """Whether depth and width go together."""
        return self.net.regime.is_joint and not cast(Any, self.net.width).is_infinite

    @cached_property
    def derived(self) -> Derivation:
        """The network's limit over as many inputs as are asked for."""
        inputs = 1 if self.norm is not None else 2
        return derive(replace(self.net, inputs=inputs))

    @cached_property
    def symbols(self) -> set[Any]:
        """The free parameters of the limit."""
        return set(self.process.parameters)

    @cached_property
    def process(self) -> Diffusion | Flow:
        """Of the norm, of the correlation, or of the Gram matrix."""
        if self.correlation is not None and self.is_joint and (phi := self._keeping_its_shape) is not None:
            require_homogeneous(phi)  # of others it is known what they do instead
            raise ValueError(
                "the correlation of two inputs tends to 1 where depth and width grow together and the activation keeps its shape; ask for a norm, "
                "or choose in a shaped network"
            )
        d = self.derived
        if d.order == "joint" and self.correlation is not None and d.correlation is not None and d.correlation.closed:
            return d.correlation.process()
        limit = d.limit if d.order in ("joint", "width") else d.gram
        if limit is None:
            raise ValueError(
                f"the Gram matrix of this network is no process by itself ({d.why_no_gram}); ask at infinite width, width=oo"
            )
        if not set(limit.states) <= {*self._norms, *self._products, correlation}:
            raise ValueError(
                f"the limit is one of {', '.join(map(str, limit.states))}, not of norms and correlations alone; this is not solved"
            )
        if self.norm is not None and not set(limit.states) & self._norms:
            raise ValueError("every layer fixes the norm of this network; ask for a correlation")
        return cast("Diffusion | Flow", limit)

    @cached_property
    def _norms(self) -> set[Any]:
        """The symbols of mean squares, of inputs and positions."""
        return {m[a, a] for m in self._matrices for a in range(m.rows)}

    @cached_property
    def _products(self) -> set[Any]:
        """The symbols of mean products of two inputs or positions."""
        return {m[a, b] for m in self._matrices for a in range(m.rows) for b in range(a)}

    @cached_property
    def _matrices(self) -> list[Any]:
        count = self.derived.architecture.coordinates
        return [gram_matrix(count, stem) for stem in "VK"]

    @property
    def _keeping_its_shape(self) -> Activation | None:
        """The activation of a perceptron without shaping, which is read off one layer, before the limit is derived."""
        return unshaped(JointMoments.of(self.net, 2).chain.program)

    def value(self, at: float) -> tuple[float, float]:
        """The statistic at a value of the parameter, and its standard error; not a number where it does not exist."""
        process, time = self.process, self._time(at)
        try:
            if self._family and (units := self._family[0].units(at)) is not None:
                return self._of(self._family[0].base, time * units.time, units.state)
            if not self.of_depth:
                process = with_number(process, self.parameter, exact_decimals(at))
            found = self._of(process, time)
            if self._solved and not self._family and not self.of_depth and not depends_on_time(self.process):
                self._family.append(Family(cast(Diffusion, self.process), self.parameter, exact_decimals(at)))
            return found
        except ValueError as error:
            self._reasons.append(str(error))
            return np.nan, 0.0

    def _time(self, at: float) -> float:
        if not self.is_joint:
            return float(at) if self.of_depth else float(1.0 if self.t is None else self.t)
        return float(cast(Any, self.net.regime.time(exact_decimals(at) if self.of_depth else self.depth)))

    def _of(self, process: Diffusion | Flow, time: float, unit: float = 1.0) -> tuple[float, float]:
        start = [unit * x for x in self._start(process)]
        if isinstance(process, Flow) or process.covariance.is_zero_matrix:  # no noise at this value of the parameter
            moving = process if isinstance(process, Flow) else Flow(process.states, process.drift, process.time)
            end = np.asarray(solve_flow(moving, start, time)(time))
            return float(self._read(end[None], process)[0]), 0.0
        if len(process.states) == 1 and has_distribution(process):
            scale = start[0] / (self.norm0 if self.norm is not None else self.correlation0) if start[0] else 1.0
            found = np.nan
            for tol in (_ROUGH, _FINE) if self._solved else (_FINE,):
                law = self._law(process, start[0], time, tol)
                found = float(law.mean() if self.quantile is None else law.ppf(self.quantile)) / scale
                if not self._is_near(found):
                    break
            return found, 0.0
        for share, steps in ((_SHARE, _STEPS // 4), (1, _STEPS)):
            found, error = self._over_paths(process, start, time, max(self.samples // share, 2), steps)
            away = abs(found - self._target)
            if away > _CLEAR * error and (self.correlation is not None or not self._is_near(found)):
                break
        return found, error

    def _over_paths(
        self, process: Diffusion, start: list[float], time: float, samples: int, steps: int
    ) -> tuple[float, float]:
        """The statistic and its standard error over simulated paths."""
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", ExplosionWarning)  # looked at below
            states = simulate_sde(
                process, np.array(start), time, steps=steps, samples=samples, seed=self.seed, progress=self._shown
            )
            values = self._read(np.asarray(states), process)
        self._walked.append(samples)
        if not np.isfinite(values).all():
            return np.nan, 0.0
        if self.quantile is None:
            return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
        found = float(np.quantile(values, self.quantile))
        spread = np.sqrt(self.quantile * (1 - self.quantile) / len(values))
        low, high = np.quantile(values, np.clip([self.quantile - spread, self.quantile + spread], 0, 1))
        return found, float(high - low) / 2

    @cached_property
    def _walked(self) -> list[int]:
        """How many paths each simulation had that is over."""
        return []

    @property
    def _shown(self) -> Progress | None:
        """What one simulation calls: it counts the paths of those before it too."""
        if (progress := self.progress) is None:
            return None
        before = sum(self._walked)
        usual = (COARSE + _SEARCH) * self.samples
        return lambda finished, _: progress(before + finished, max(usual, before + self.samples))

    @property
    def _target(self) -> float:
        return cast(float, self.norm if self.norm is not None else self.correlation)

    @cached_property
    def _is_drawn(self) -> bool:
        """Whether the statistic comes from paths."""
        return isinstance(self.process, Diffusion) and not (
            len(self.process.states) == 1 and has_distribution(self.process)
        )

    def _is_near(self, value: float) -> bool:
        """Whether a value is so near to the wanted one that it must be known well."""
        if self.norm is not None:
            return bool(self.norm / _NEAR <= value <= self.norm * _NEAR)
        return bool(abs(value - cast(float, self.correlation)) <= 1 / _NEAR)

    def _law(self, process: Diffusion, start: float, time: float, tol: float) -> FrozenDistribution:
        """The law at a time; once none is known in closed form at one value of the parameter, it is not looked for at others."""
        if self._solved and not depends_on_time(process):
            return solve_fokker_planck(process, start, t=time, tol=tol)
        law = distribution(process, x0=start, t=time, tol=tol)
        if isinstance(law, SolvedDistribution):
            self._solved.append(law)
        return law

    def _start(self, process: Diffusion | Flow) -> list[float]:
        if process.states == (correlation,):
            return [self.correlation0]
        if (
            len(process.states) == 1 and self.correlation is not None
        ):  # the product of two inputs whose norms a layer fixes
            return [self.correlation0 * self._fixed(process)]
        return [self.norm0 * (self.correlation0 if s in self._products else 1.0) for s in process.states]

    def _fixed(self, process: Diffusion | Flow) -> float:
        """The norm that every layer fixes."""
        if isinstance(process, Diffusion):
            return float(process.domain.sup)
        return float(next(iter(dict(getattr(process, "fixed", ())).values()), 1))

    def _read(self, states: np.ndarray, process: Diffusion | Flow) -> np.ndarray:
        """The statistic of states, shape (samples, states)."""
        if self.norm is not None:
            return np.asarray(states[:, next(k for k, s in enumerate(process.states) if s in self._norms)])
        if states.shape[-1] == 1:
            return np.asarray(states[:, 0] / (self._fixed(process) if self.correlation is not None else 1.0))
        return np.asarray(states[:, 1] / np.sqrt(states[:, 0] * states[:, 2]))

    def checked_bounds(self, bounds: tuple[float, float] | None) -> tuple[float, float]:
        """Two numbers in order."""
        if self.parameter.is_integer and not self.of_depth:
            raise ValueError(
                f"real numbers are sought, and {self.parameter} is declared as a whole number; declare it real"
            )
        if bounds is None:
            most = 100.0 * float(self.net.width) if self.is_joint else 100.0
            if self.of_depth:
                return (1.0 if self.is_joint else 0.01), most
            return usual_bounds(self.parameter)
        low, high = map(float, bounds)
        if not -np.inf < low < high < np.inf or not (low > 0 if self.of_depth else can_be(self.parameter, low, high)):
            raise ValueError(f"bounds must be two numbers in order that {self.parameter} can have, got {bounds}")
        return low, high

    def solved(self, low: float, high: float) -> Choice:
        """The smallest value between bounds at which the statistic is as wanted, and all others."""
        target = self._target
        seen: dict[float, tuple[float, float]] = {}

        def statistic(x: float) -> float:
            seen[x] = self.value(x)
            return seen[x][0]

        looked = np.unique(np.concatenate([spaced(low, high, COARSE), self._turns(low, high)]))
        tolerance = 1e-6 * max(abs(target), 1.0)
        near = max(tolerance, 1.0 / self.samples)
        made = crossings(statistic, target, looked, near=near, enough=near if self._is_drawn else 0.0)
        grid, reach = made.points, made.reach if len(made.points) else (np.nan, np.nan)
        if len(grid) < 2:
            away = (
                "networks run away" if self.quantile is not None else "networks run away; ask for a quantile over them"
            )
            why = self._reasons[0] if self._reasons else away
            raise ValueError(
                f"{self.words} does not exist between {self.parameter} = {low:g} and {high:g} ({why}); choose other bounds"
            )
        if not made.found:
            how = (
                f"it jumps over {target:g} at {self.parameter} = {made.jumps[0]:.6g}"
                if made.jumps
                else f"{target:g} is not reached"
            )
            raise ValueError(
                f"{self.words} goes only from {reach[0]:.4g} to {reach[1]:.4g} for {self.parameter} from {grid[0]:.4g} to {grid[-1]:.4g}, and {how}; "
                "ask for a value between them, or give other bounds="
            )
        root, *others = made.found
        attained, error = seen[root] if root in seen else self.value(root)
        network = self.net if self.of_depth else self.net.xreplace({self.parameter: exact_decimals(root)})
        return Choice(self.parameter, root, self.words, target, attained, error, reach, tuple(others), network)

    def _turns(self, low: float, high: float) -> np.ndarray:
        """Where the limit's coefficients turn as functions of the parameter, and the statistic may with them.

        Raises
        ------
        ValueError
            If they turn so often that the statistic cannot be looked at in between.
        """
        if self.of_depth:
            return np.array([])
        process, grid = self.process, spaced(low, high, FINE)
        start = [*map(exact_decimals, self._start(process))]
        middle = [(x + exact_decimals(0.5)) / 2 for x in start]  # inside every domain that is followed here
        coefficients = [*process.drift, *(process.covariance if isinstance(process, Diffusion) else ())]
        made = [c.xreplace(dict(zip(process.states, at, strict=True))) for c in coefficients for at in (start, middle)]
        with np.errstate(all="ignore"):
            rows = [
                np.broadcast_to(compile_expression((self.parameter, process.time), c)(grid, 0.0), grid.shape)
                for c in dict.fromkeys(made)
                if c.has(self.parameter) and not c.has(SoftmaxMean)
            ]
        found = turns(np.array(rows).reshape(-1, len(grid)), grid)
        if len(found) > MOST_TURNS:
            raise ValueError(
                f"what one layer adds turns {len(found)} times for {self.parameter} from {low:g} to {high:g}; give narrower bounds="
            )
        return found

    @property
    def words(self) -> str:
        """The statistic in words."""
        what = "the mean square of the neurons" if self.norm is not None else "the correlation of two inputs"
        of = f"the mean of {what}" if self.quantile is None else f"the quantile {self.quantile:g} of {what}"
        if self.of_depth:
            return of
        return (
            f"{of} after {self.depth} layers" if self.is_joint else f"{of} at t = {1.0 if self.t is None else self.t:g}"
        )
