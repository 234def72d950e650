r"""Kernels in closed form: the flow solved state by state, by integrating factors and separation."""

from __future__ import annotations

import sympy as sp

from derivations.diffusion import Flow
from derivations.errors import NoClosedForm, brief
from derivations.kernels.correlation import solve_variance
from derivations.kernels.riccati import mean_riccati
from derivations.limits.meanfield import mean_symbols
from derivations.symbols import time


def solve_flow(flow: Flow) -> dict[sp.Symbol, sp.Expr]:
    r"""Solve a kernel flow in closed form, each state from its value ``…_0`` at :math:`t = 0`.

    * :math:`\dot y = a y + q(t)` with a constant: :math:`y = e^{at}\bigl(y_0 + \int_0^t e^{-as} q(s)\,\mathrm{d}s\bigr)`, q made of
      states that are solved already.
    * Means that move with one second moment: the Riccati equation of :class:`~derivations.kernels.Riccati`.
    * One autonomous state: separation of variables.

    Returns
    -------
    dict
        State to its value at ``symbols.time``. Means start at 0.

    Raises
    ------
    NoClosedForm
        If a state is left that none of these solves.

    Examples
    --------
    >>> from derivations import ShrinkingResNet, identity, tanh
    >>> from derivations.kernels import ntk
    >>> solve_flow(ntk(ShrinkingResNet(tanh, identity, width=sp.oo)))
    {K: K_0*exp(t), Theta: (K_0*t + Theta_0)*exp(t)}
    """
    left = dict(zip(flow.states, flow.drift, strict=True))
    solved: dict[sp.Symbol, sp.Expr] = {}
    while left:
        found = next((s for s, v in left.items() if not v.free_symbols & (set(left) - {s})), None)
        if found is not None:
            solved[found] = _alone(found, left.pop(found).subs(solved))
        elif (len(left) == 2 and not solved) or (
            set(left) >= set(flow.states[:2]) and flow.states[0] in mean_symbols(1)
        ):
            m, k = flow.states[:2]
            riccati, second = mean_riccati(m, k, left.pop(m), left.pop(k))
            solved[m] = riccati.at(time)
            solved[k] = second.subs(m, solved[m])
        else:
            raise NoClosedForm(
                f"the flow of {', '.join(map(str, left))} has no closed form known; solve it numerically"
            )
    return {s: solved[s] for s in flow.states}


def _alone(y: sp.Symbol, velocity: sp.Expr) -> sp.Expr:
    """One state whose equation has no other unknown in it."""
    start = sp.Symbol(f"{y.name}_0", **({"positive": True} if y.is_positive else {"real": True}))
    velocity = sp.expand(velocity)
    rate = sp.diff(velocity, y)
    if rate.has(y, time):
        if velocity.has(time):
            raise NoClosedForm(f"d{y}/dt = {velocity} has no closed form known; solve it numerically")
        return solve_variance(Flow((y,), sp.ImmutableMatrix([velocity])))
    forcing = velocity.subs(y, 0)
    integral = sp.Add(*map(_integral, sp.Add.make_args(sp.powsimp(sp.expand(forcing * sp.exp(-rate * time))))))
    return sp.factor_terms(sp.powsimp(sp.expand(sp.exp(rate * time) * (start + integral))))


def _integral(term: sp.Expr) -> sp.Expr:
    """The integral from 0 to t of a constant times a power of t and an exponential of a multiple of t."""
    constant, rest = term.as_independent(time, as_Add=False)
    shape = sp.powsimp(rest)
    powers, exponentials = shape.as_independent(sp.exp, as_Add=False)
    rate = sp.diff(sp.log(exponentials), time) if exponentials != 1 else sp.S.Zero
    if not powers.is_polynomial(time) or sp.expand_log(rate, force=True).has(time):
        raise NoClosedForm(f"the integral of {brief(term)} over t has no closed form known; solve the flow numerically")
    return constant * sp.integrate(shape, (time, 0, time))
