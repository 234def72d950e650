r"""Theory against simulated networks: checks of any derivation, and a catalogue of published claims.

Every check carries its control, the same test with a coefficient that is 5 % off, which must be rejected.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from derivations import Derivation
from derivations.backward import Jacobian, WideJacobian
from derivations.diffusion import Flow
from derivations.errors import kind_of
from derivations.loading import on_demand
from numerics import given
from numerics.ensembles import Seed
from numerics.paths import has_slow_steps
from numerics.validation.base import LEVEL, QUICK_SCALE, SCALE, Array, Row, Validation, spawn
from numerics.validation.checks import LAW_CHECKS, LIMIT_CHECKS, Check, one_layer
from numerics.validation.claims import Claim, Comparison, Distribution, Number
from numerics.validation.comparison import compare
from numerics.validation.derivatives import DeterminantSetting, TangentPaths, derivatives_of, one_layer_of_determinants
from numerics.validation.equation import equation_of_networks
from numerics.validation.matrices import JointSetting
from numerics.validation.settings import settings_of, starting_states
from numerics.validation.stages import Stage, in_turn, silent
from numerics.validation.subjects import Setting

if TYPE_CHECKING:
    from numerics.validation.catalogue import CATALOGUE, CheckedClaims, check_claims, find_claims

# the catalogue knows every claim's network, and the libraries of regression and training behind them: no validation asks for these
__getattr__, __dir__ = on_demand(
    __name__, {"numerics.validation.catalogue": "CATALOGUE CheckedClaims check_claims find_claims"}
)


@given.checked(
    d=given.derived,
    x0=given.moderate,
    samples=given.optional(given.whole),
    t=given.duration,
    depth=given.optional(given.whole),
    stage=given.function,
)
def validate(
    d: Derivation | Jacobian | WideJacobian,
    x0: ArrayLike = 1.0,
    t: float = 1.0,
    samples: int | None = None,
    depth: int | None = None,
    seed: Seed = 0,
    workers: int = 1,
    stage: Stage = silent,
    quick: bool = False,
    networks: tuple[int, ArrayLike | None] = (0, None),
) -> Validation:
    r"""Compare a derivation's limit, its law and simulated finite networks.

    * Neurons at a finite width: one layer's conditional mean and covariance against the drift and the covariance; networks against paths
      of the limit, in distribution; for one neuron with one input networks against the law, solved on a grid where no closed form is
      known, by Kolmogorov–Smirnov and by moments, and the order in which they approach it with depth.
    * The Gram matrix, where it is a diffusion by itself: the same, against its law or its paths.
    * Infinite width: the means of networks' second moments against the solution of the flow.
    * Depth and width together: Gram matrices of networks against paths or the solution of the limit.
    * A Jacobian at a finite width: its columns and its determinant against paths of its equation, the determinant of one layer against the
      closed formula and that of networks against its law; where depth and width grow together, norms and product of state and tangent.

    Networks are extrapolated to infinite size. Each row has a control, the same test with the noise's scale 5 % off, a flow 5 % too
    fast, and passes only if the control is rejected.

    Parameters
    ----------
    d : Derivation or Jacobian
        What :func:`derivations.derive` or :func:`derivations.backward.jacobian` returned, without free parameters.
    x0 : float or array, shape (n,) or (n, m); (m, m) for Gram matrices of infinite width, or of depth and width together
        Where the neurons start. A number puts them all there; several inputs must differ, and a number then scales
        standard normal states, drawn once. Of a Gram matrix, a number scales inputs of norm 1 and correlation 0.3.
    t : float
        The limit's time. Where depth and width grow together, that of a whole number of layers: with noise at most 1/8, of two inputs that
        collapse at most 1/4. The title has the time that was compared. At a fixed width a time over which the layers
        of networks that can be drawn are long is cut to a quarter until they are short, and rows name the time.
    samples, depth : int, optional
        By default chosen check by check: samples so that the control is rejected, depth so that the bias
        is below the noise. Too few or too shallow, and the row says so instead of passing. For infinite width, and for depth and width
        together, ``depth`` is the smallest size of networks.
    seed : int, SeedSequence, Generator or None
    workers : int
        Threads for the networks and the paths; the result does not depend on it.
    stage : callable
        Announces each check: from its name, with its place and the time that the rest takes, to a context in which it is made.
    quick : bool
        Controls are 15 % off instead of 5 %, which a ninth of the samples see.
    networks : tuple of int and array, shape (samples, n, m)
        A depth and the last layers of networks of that depth, already drawn from x0 with another seed, which the law is compared
        with where they are deep and many enough.

    Returns
    -------
    Validation
        True if every row agrees; ``print`` shows the table.

    Raises
    ------
    ValueError
        If the width is a symbol, t ≤ 0, parameters are left, or ``x0`` is where nothing moves.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> from derivations import derive
    >>> bool(validate(derive(ResNet(relu, width=1)), samples=200, depth=64))  # no power with so few
    False
    """
    given = (x0, float(t), samples, depth, workers)
    subjects = settings_of(d, *given) if isinstance(d, Derivation) else derivatives_of(d, *given)
    shared, scale = _drawn(networks, subjects[0]), QUICK_SCALE if quick else SCALE
    subjects = [replace(s, scale=scale, drawn=shared) for s in subjects]
    found = [(check, s) for s in subjects for check in checks_of(s)]
    rows: list[Row] = []
    names = [check.__name__.replace("_", " ") for check, _ in found]
    stages = in_turn(stage, names, [_SHARES.get(check, 1.0) for check, _ in found])
    for (check, s), one, here in zip(found, spawn(seed, len(found)), stages, strict=True):
        with here:
            rows += check(s, one)
    exploded: dict[str, int] = {}
    for _, s in found:
        exploded |= s.exploded
    time = subjects[
        0
    ].t  # depth and width together are followed over a whole number of layers, a short time where there is noise
    short = ", a short time over which depth and width are followed together" if time < 0.8 * t else ""
    slow = "; paths of the limit take means over several Gaussian numbers at every state, and are not drawn"
    how = f"{', quick' if quick else ''}{slow if any(has_slow_steps(s.limit) for s in subjects) else ''}"
    return Validation(tuple(rows), f"{d.title.partition(':')[0]}, t = {time:g}{short}{how}", exploded)


#: How much longer than others some checks take.
_SHARES: dict[Check, float] = {one_layer: 0.3, equation_of_networks: 3.0}


def _drawn(networks: Any, s: Setting) -> tuple[int, Array | None]:
    """A depth and networks of it, as they were given."""
    try:
        depth, states = networks
        states = None if states is None else np.asarray(states, dtype=float)
        fits = states is None or (depth >= 1 and states.ndim == 3 and states.shape[1:] == s.start.shape)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            f"networks must be a depth and the last layers of networks, shape (samples, {', '.join(map(str, s.start.shape))}), "
            f"got {kind_of(networks)}"
        )
    return int(depth), states


def checks_of(s: Setting) -> tuple[Check, ...]:
    """The checks of a subject."""
    if isinstance(s, DeterminantSetting):
        return (one_layer_of_determinants, equation_of_networks)
    if isinstance(s, TangentPaths) or isinstance(s.limit, Flow) or isinstance(s, JointSetting):
        return (equation_of_networks,)
    if has_slow_steps(s.limit):
        return (one_layer,)
    return (*LIMIT_CHECKS, *(LAW_CHECKS if s.has_law and not s.by_law else ()))


__all__ = [
    "CATALOGUE",
    "LEVEL",
    "CheckedClaims",
    "Claim",
    "Comparison",
    "Distribution",
    "Number",
    "Row",
    "Validation",
    "check_claims",
    "compare",
    "find_claims",
    "starting_states",
    "validate",
]
