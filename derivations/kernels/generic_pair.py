r"""The kernel flow of a generic pair of inputs in parts: means over one neuron, means over pairs, filters, and formulas of all these.

The derivation leaves Gaussian means as nodes (``evaluate=False``), which get names (``lowering``). Where positions meet in filters only, the
flow is that at one generic position of each input, and what a filter reads is a node too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.errors import DerivationError
from derivations.gaussian.finite import is_odd
from derivations.kernels.flows import require_slopes
from derivations.kernels.lowering import BOTH, FIRST, SECOND, Both, Lowering, Own, OwnMean, PairMean, gathered
from derivations.kernels.means import degree
from derivations.kernels.standard_form import Z
from derivations.language.filters import Tap
from derivations.language.statements import Mask, Program
from derivations.limits.tangents import tangent_flow
from derivations.limits.width import kernel_flow
from derivations.symbols import time


@dataclass(frozen=True)
class PairFlow:
    """The flow of a pair; make it with :func:`pair_flow`.

    Parameters
    ----------
    states : tuple of int
        Which of M, K, Θ (0, 1, 2) of a single input move.
    fixed : Expr or None
        The second moment of each neuron, where every layer fixes it.
    repeats : bool
        Whether a pair of equal inputs moves as each of them, as it does where they share all that is drawn.
    first, second : tuple of Symbol
        The states of both inputs, and the names of the means over a neuron at each.
    own, pairs : tuple
        The means and filters, in an order in which each holds earlier ones only.
    own_rates, pair_rates : tuple of Expr
        Of the states of the first input; of K and Θ between both, whose symbols are ``both``.
    filters : tuple
        For each filter what its weights read, coordinate by coordinate of one input.
    """

    states: tuple[int, ...]
    fixed: sp.Expr | None
    repeats: bool
    first: tuple[sp.Symbol, ...]
    second: tuple[sp.Symbol, ...]
    both: tuple[sp.Symbol, ...]
    own: tuple[Own, ...]
    pairs: tuple[Both, ...]
    own_rates: tuple[sp.Expr, ...]
    pair_rates: tuple[sp.Expr, ...]
    filters: tuple[tuple[Tap, ...], ...] = ()

    @property
    def moving(self) -> bool:
        """Whether the means of neurons move."""
        return 0 in self.states

    @property
    def centred(self) -> bool:
        """Whether all neurons in means over pairs are."""
        return all(law[0] == 0 for p in self.pairs if isinstance(p, PairMean) for law in p.laws)

    @cached_property
    def needed(self) -> frozenset[int]:
        """The steps for one input whose values the steps for pairs, or what filters read of a pair with itself, are made of."""
        parts: list[sp.Basic] = [*self.pair_rates]
        for p in self.pairs:
            parts += [sp.Tuple(*p.laws[0], *p.laws[1], p.covariance)] if isinstance(p, PairMean) else [p.inside]
        wanted = set().union(*(part.free_symbols for part in parts))
        tags = {(p.filter, p.tag) for p in self.pairs if not isinstance(p, PairMean)}
        found = set()
        for k, o in reversed(list(enumerate(self.own))):
            if wanted & set(o.names) or (not isinstance(o, OwnMean) and (o.filter, o.tag) in tags):
                found.add(k)
                wanted |= sp.Tuple(o.mean, o.variance).free_symbols if isinstance(o, OwnMean) else o.inside.free_symbols
        return frozenset(found)

    @property
    def generator(self) -> sp.ImmutableMatrix:
        """Of (1, K, Θ) between both inputs, where these move by an affine equation."""
        equations = sp.Matrix(self.pair_rates)
        constant, slopes = equations.subs(dict.fromkeys(self.both, 0)), equations.jacobian(self.both)
        return sp.ImmutableMatrix(sp.zeros(1, 1 + len(self.both)).col_join(constant.row_join(slopes)))

    @cached_property
    def moves_alone(self) -> bool:
        """Whether the rates of one input's states depend on depth itself, as variances of depth make them."""
        laws = (sp.Tuple(o.mean, o.variance) if isinstance(o, OwnMean) else o.inside for o in self.own)
        return any(part.has(time) for part in (*self.own_rates, *laws))

    @property
    def joint_laws(self) -> list[tuple[sp.Expr, ...]]:
        """Of each mean over a pair: both variances and the covariance between them."""
        second = dict(zip(self.first, self.second, strict=True))
        means = [p for p in self.pairs if isinstance(p, PairMean)]
        return [(p.laws[0][1], p.covariance, p.laws[1][1].xreplace(second)) for p in means]

    @cached_property
    def linear(self) -> bool:
        """Whether K and Θ between both inputs move by an affine equation that is the same for all inputs."""
        known = {*self.both, time}
        return (
            not self.filters
            and not self.pairs
            and self.fixed is None
            and self.repeats
            and all(e.free_symbols <= known and sp.Poly(e, *self.both).total_degree() <= 1 for e in self.pair_rates)
        )

    @cached_property
    def odd(self) -> bool:
        """Whether the kernels of x and -y are minus those of x and y."""
        turned: dict[sp.Expr, sp.Expr] = {s: -s for s in self.both}
        if not self.repeats or self.filters:
            return False
        for pair in self.pairs:
            assert isinstance(pair, PairMean)
            parities = {_parity(f) for f in pair.functions}
            change = sp.expand(pair.covariance.xreplace(turned) + pair.covariance)
            if len(parities) > 1 or None in parities or change != 0 or any(law[0] != 0 for law in pair.laws):
                return False
            if 1 in parities:
                turned[pair.name] = -pair.name
        return all(sp.expand(e.xreplace(turned) + e) == 0 for e in self.pair_rates)

    @cached_property
    def scale_free(self) -> bool:
        r"""Whether K and Θ of inputs scaled by a and b are ab times those of the inputs.

        Then :math:`K_{\alpha\beta}/\sqrt{K_{\alpha\alpha}K_{\beta\beta}}` has an equation of its own, the same for all pairs: that of inputs of size 1.
        """
        if self.filters or self.fixed is not None or self.moving or not self.repeats:
            return False
        scales = sp.Dummy("a", positive=True), sp.Dummy("b", positive=True)
        sizes: dict[sp.Expr, sp.Expr] = {s: s * scales[0] * scales[1] for s in self.both}
        sizes |= {s: s * a**2 for row, a in zip((FIRST, SECOND), scales, strict=True) for s in row[1:]}
        for own in self.own:
            assert isinstance(own, OwnMean)
            power = degree(own.activation)
            factor = _scaled_by(own.variance, sizes)
            if power is None or factor is None or own.mean != 0:
                return False
            one = factor ** (power / 2)
            sizes[own.names[0]] = own.names[0] * one
            sizes[own.names[1]] = own.names[1] * one.xreplace({scales[0]: scales[1]})
        for pair in self.pairs:
            assert isinstance(pair, PairMean)
            across = _scaled_by(pair.covariance, sizes)
            factor = sp.S.One
            if across is None or any(law[0] != 0 for law in pair.laws):
                return False
            variances = pair.laws[0][1], pair.laws[1][1].xreplace(dict(zip(self.first, self.second, strict=True)))
            for activation, variance in zip(pair.activations, variances, strict=True):
                power, size = degree(activation), _scaled_by(variance, sizes)
                if power is None or size is None:
                    return False
                across /= sp.sqrt(size)
                factor *= size ** (power / 2)
            if sp.powdenest(across) != 1:
                return False
            sizes[pair.name] = pair.name * factor
        own_rates = [_scaled_by(e, sizes) for e in self.own_rates if e != 0]
        pair_rates = [_scaled_by(e, sizes) for e in self.pair_rates if e != 0]
        return all(f == scales[0] ** 2 for f in own_rates) and all(f == scales[0] * scales[1] for f in pair_rates)


def _scaled_by(expr: sp.Expr, sizes: dict[sp.Expr, sp.Expr]) -> sp.Expr | None:
    """The factor that comes out of an expression when its symbols are scaled; None where none does."""
    moved = sp.powdenest(sp.expand(expr.xreplace(sizes)))
    ratio = sp.cancel(sp.powsimp(sp.expand(moved / expr))) if expr.is_Add else sp.powsimp(moved / expr)
    ratio = sp.powdenest(ratio)
    return None if ratio.free_symbols & set(sizes) or ratio.has(time) else ratio


def _parity(function: sp.Expr) -> int | None:
    """1 for an odd function, 0 for an even one."""
    if is_odd(function, Z):
        return 1
    return 0 if not function.has(Z) or is_odd(Z * function, Z) else None


def pair_flow(architecture: Recipe, tangent: bool) -> PairFlow:
    """Derive the flow of a generic pair of inputs and take it apart.

    Parameters
    ----------
    architecture : Recipe
        With numbers for its parameters.
    tangent : bool
        Whether the tangent kernel is followed too.

    Raises
    ------
    DerivationError
        If a parameter has no number yet, positions are coupled by more than filters, or a mean has no rule.

    Examples
    --------
    >>> from derivations import ResNet, relu, tanh
    >>> flow = pair_flow(ResNet(tanh, width=sp.oo), tangent=False)
    >>> [len(flow.own), len(flow.pairs), flow.repeats]
    [1, 1, True]
    >>> pair_flow(ResNet(relu, width=sp.oo), tangent=False).own_rates  # of degree 2: no mean is needed
    (K_11/2,)
    """
    program = replace(architecture, inputs=1).program()
    filters = tuple(w.taps for w in program.filters)
    if program.has_positions:
        _require_filters(program)
        program = program.at_one_position()
    if tangent:
        require_slopes(program)
    kernel = kernel_flow(program, 2, evaluate=False)
    flow = tangent_flow(program, 2, evaluate=False) if tangent else kernel
    if flow.parameters:
        named = ", ".join(sorted(map(str, flow.parameters)))
        raise DerivationError(
            f"expected numbers in the architecture, got the symbols {named}; substitute values for them"
        )
    rates = dict(zip(flow.states, flow.drift, strict=True))
    states = tuple(k for k, s in enumerate(FIRST) if s in rates)
    lower = Lowering()
    own = [_of_one_input(lower(rate), lower.swap) for rate in gathered([rates[FIRST[k]] for k in states])]
    both = [_reduced(lower(rates[s])) for s in BOTH[: 1 + tangent]]
    first = [FIRST[k] for k in states]
    second = [SECOND[k] for k in states]
    names = [[o.names[side] for o in lower.own] for side in (0, 1)]
    # equal inputs that see the same draws are in the same state
    repeats = not any(isinstance(s, Mask) and not s.shared for s in program.statements)
    return PairFlow(
        states,
        kernel.fixed[0][1] if kernel.fixed else None,
        repeats,
        (*first, *names[0]),
        (*second, *names[1]),
        BOTH[: 1 + tangent],
        tuple(lower.own),
        tuple(lower.pairs),
        tuple(own),
        tuple(both),
        filters,
    )


def _reduced(rate: sp.Expr) -> sp.Expr:
    """Without the determinant that a transpose divides by, where it drops out: it is 0 for parallel inputs."""
    parallel = {SECOND[1]: BOTH[0] ** 2 / FIRST[1]}
    divides = any(p.exp.is_negative and sp.expand(p.base.xreplace(parallel)) == 0 for p in rate.atoms(sp.Pow))
    return sp.cancel(sp.together(rate)) if divides else rate


def _of_one_input(rate: sp.Expr, swap: Mapping[sp.Expr, sp.Expr]) -> sp.Expr:
    """The rate of one input's moment: what a transpose conditions on the other input drops out.

    Raises
    ------
    DerivationError
        If it does not.
    """
    across = {*swap, *BOTH}
    if rate.free_symbols & across:
        rate = sp.cancel(sp.together(rate))
    if rate.free_symbols & across:
        raise DerivationError(
            "the kernel of an input depends on the other inputs, through a matrix that is applied with its transpose, so that kernels of pairs "
            "do not close; apply the transpose of a matrix of its own"
        )
    return rate


def _require_filters(program: Program) -> None:
    """Positions meet in filters only, and positions of one input move as those of two do."""
    if program.has_pairs:
        raise DerivationError(
            "the flow couples all positions of an input, not pairs of positions alone: take derivations.kernels.coupled"
        )
    if any(isinstance(s, Mask) and s.each > 1 and not s.shared for s in program.statements):
        raise DerivationError(
            "a branch that is dropped for each input on its own is dropped for all of its positions together, which kernel matrices over "
            "positions do not follow; use drop_branch(..., shared=True)"
        )
