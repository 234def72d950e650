r"""A layer in its sizes: small parameters whose exponents in the depth are left free.

The program is written in symbols, each of which stands for :math:`\sigma\,L^{-p}` with a number :math:`\sigma` and a free exponent p:
the small parameters that the network has, one for each random matrix that they multiply; or, where it has none, the size of its branch.
Weights whose mean is 0 get a mean of a free size too, if that is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import sympy as sp

from derivations.affine import is_affine
from derivations.architectures.base import Recipe
from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, require
from derivations.exponents.growing import in_powers
from derivations.exponents.inside import with_branch_size
from derivations.language import Program
from derivations.language.small import sizes_in_front
from derivations.language.statements import Back, Matrix, Mean
from derivations.language.weights import Weights
from derivations.symbols import state, step


class Role(Enum):
    """What a size multiplies, in words."""

    BRANCH = "the branch"
    SHAPING = "the shaping"
    MEAN = "the mean of"
    PARAMETER = "a parameter of the layer"


@dataclass(frozen=True)
class Size:
    """A parameter of a layer that goes with a power of the depth.

    Parameters
    ----------
    symbol : Symbol
        Of the program.
    exponent : Symbol
        p.
    role : Role
        What it multiplies.
    of : str
        The matrix or branch that is meant, where there are several.
    stands : Expr or None
        The exponent that the network has as it stands; None where the network has no such parameter.
    grows : bool
        Whether p is at most 0, else it is at least 0.
    """

    symbol: sp.Symbol
    exponent: sp.Symbol
    role: Role
    of: str = ""
    stands: sp.Expr | None = None
    grows: bool = False

    @property
    def words(self) -> str:
        """What it multiplies, in words."""
        return f"{self.role.value} {self.of}".strip()


@dataclass(frozen=True)
class Family:
    """A layer in its sizes.

    Parameters
    ----------
    program : Program
    sizes : tuple of Size
    coordinates : int
        Of a neuron.
    order : {"depth", "width", "joint"}
        Whether the width is fixed, infinite, or a power of the depth with a free exponent.
    introduced : Expr or None
        The share of the state that a layer keeps as it stands, where a branch's size had to be introduced.
    """

    program: Program
    sizes: tuple[Size, ...]
    coordinates: int
    order: str
    introduced: sp.Expr | None = None

    @property
    def has_branches(self) -> bool:
        """Whether several branches have sizes of their own."""
        return sum(size.role is Role.BRANCH for size in self.sizes) > 1

    @property
    def stands(self) -> dict[sp.Symbol, sp.Expr]:
        """The exponents of the network as it stands, as far as it has them."""
        return {size.exponent: size.stands for size in self.sizes if size.stands is not None}


def exponent_of(symbol: sp.Symbol) -> sp.Symbol:
    """The symbol of a size's exponent: p with the size's name."""
    plain = "p" if symbol == step else f"p_{symbol.name}"
    return sp.Symbol(plain, real=True)


def family(
    net: Recipe,
    order: str,
    small: Sequence[sp.Symbol] | Mapping[sp.Symbol, object] | None = None,
    means: bool = False,
    at_start: bool = True,
) -> Family:
    """A network's layer in its sizes.

    Parameters
    ----------
    net : Recipe
    order : {"depth", "width", "joint"}
    small : sequence or mapping of Symbol, optional
        Parameters of the network that are small; a mapping gives the exponents that they have. By default the small parameters of the
        language and of the recipe's regime.
    means : bool
        Whether matrices whose output is added to the state get means of a free size, where they have none.
    at_start : bool
        Whether only the law of the layer at the start matters, so that a size of a matrix's entries may stand in front of it.

    Raises
    ------
    DerivationError
        For a symbol that the layer does not have.
    """
    program = _together(net) if order == "joint" else _free(net)
    given = _given(small, program)
    if given is None:
        program, sizes, kept = _own(net, program, order)
    else:
        sizes = [
            Size(s, exponent_of(s), Role.PARAMETER, "", p, p is not None and bool(p.is_negative))
            for s, p in given.items()
        ]
        if step not in given and _has(program, step):
            raise DerivationError(
                f"the layer has the small parameter {step} beside those in small={[str(s) for s in given]}; name it there too"
            )
        kept = None
        program = in_powers(program, [size.symbol for size in sizes if size.grows])
        if at_start:
            program, _ = sizes_in_front(program, {size.symbol for size in sizes})
    if means:
        program, more = _with_means(program, net.wholes)
        sizes += more
    return Family(program, tuple(sizes), net.coordinates, order, kept)


def _together(net: Recipe) -> Program:
    """The layer with its small parameters and the width as symbols; where the regime ties them, the width is said in one of them."""
    return net.scaled_program(net.regime if net.regime.is_joint else None)


def _free(net: Recipe) -> Program:
    """The layer with its small parameters, and an infinite width, as symbols."""
    return _together(net) if net.regime.is_joint or net.width == sp.oo else net.program()


def _given(
    small: Sequence[sp.Symbol] | Mapping[sp.Symbol, object] | None, program: Program
) -> dict[sp.Symbol, sp.Expr | None] | None:
    if small is None:
        return None
    require("small", small, Iterable, "a sequence of small parameters, or a mapping from them to exponents")
    pairs = small.items() if isinstance(small, Mapping) else [(s, None) for s in small]
    found: dict[sp.Symbol, sp.Expr | None] = {}
    for symbol, exponent in pairs:
        if not isinstance(symbol, sp.Symbol) or not _has(program, symbol):
            raise DerivationError(
                f"small must name parameters of the layer, got {symbol!r}, which the layer does not have"
            )
        if not symbol.is_positive:
            raise DerivationError(
                f"the small parameter {symbol} must be positive, so that its powers have a size; declare Symbol({symbol.name!r}, positive=True)"
            )
        value = None if exponent is None else exact_decimals(exponent)
        if value is not None and not value.is_Rational:
            raise DerivationError(f"the exponent of {symbol} must be a rational number, got {exponent!r}; e.g. 1/2")
        found[symbol] = value
    if not found:
        raise DerivationError("small names no parameter; leave it out to have the layer's own")
    return found


def _has(program: Program, symbol: sp.Symbol) -> bool:
    return program.xreplace({symbol: sp.Dummy(positive=True)}) != program


def _own(net: Recipe, program: Program, order: str) -> tuple[Program, list[Size], sp.Expr | None]:
    """The small parameters that a layer has; else the size of its branch is introduced."""
    regime = net.regime
    rates = dict(regime.rates) if regime.is_joint else {step: sp.S.Half}
    unit = regime.depth if regime.is_joint and regime.depth is not None else sp.S.One
    named = {symbol: rate / unit for symbol, rate in rates.items() if _has(program, symbol)}
    if named:
        apart = _apart(program) if set(named) == {step} else None
        if apart is not None:
            program, found = apart
            return program, [Size(s, exponent_of(s), Role.BRANCH, of, p * named[step]) for s, of, p in found], None
        roles = {s: Role.BRANCH if _multiplies(program, s) else Role.SHAPING for s in named}
        return program, [Size(s, exponent_of(s), roles[s], "", rate) for s, rate in named.items()], None
    update = sp.expand(program.update)
    drawn = {s.symbol for s in program.statements}
    kept = update.coeff(state)
    if kept.free_symbols & (drawn | {state}) or not (kept.is_number or kept.free_symbols):
        inside = with_branch_size(program, step)
        if inside is not None:
            return _introduced(inside)
        kept = sp.S.Zero
    rest = update - kept * state
    if not is_affine(rest, {state}):
        return program, [], None
    if rest == 0:
        raise DerivationError(
            f"the layer only multiplies the state by {kept}; it has no branch whose size could be chosen"
        )
    symbol = step
    if kept == 1:
        everywhere = with_branch_size(program, symbol)
        if everywhere is not None and everywhere.statements != program.statements:  # a later branch reads the sum
            return _introduced(everywhere)
        update = state + symbol * rest
    elif (1 - kept**2).is_positive:
        update = sp.sqrt(1 - symbol**2) * state + symbol * rest / sp.sqrt(1 - kept**2)
    else:
        return program, [], kept
    return replace(program, update=update), [Size(symbol, exponent_of(symbol), Role.BRANCH, stands=sp.S.Zero)], kept


def _introduced(program: Program) -> tuple[Program, list[Size], sp.Expr]:
    """The sizes of branches that stand at 1, one symbol for each if there are several."""
    program, found = _apart(program) or (program, [(step, "", sp.S.One)])
    return program, [Size(s, exponent_of(s), Role.BRANCH, of, sp.S.Zero) for s, of, _ in found], sp.S.One


def _multiplies(program: Program, symbol: sp.Symbol) -> bool:
    """Whether a small parameter stands in front of what is drawn, and nowhere else."""
    renamed, groups = _named(program, symbol)
    return bool(groups) and not _has(renamed, symbol)


def _named(program: Program, small: sp.Symbol) -> tuple[Program, dict[tuple[frozenset[sp.Symbol], sp.Expr], sp.Symbol]]:
    """The program with a name for each power of a small parameter in front of what is drawn: by what it multiplies, and the power."""
    names = {s.symbol: s for s in program.statements}
    groups: dict[tuple[frozenset[sp.Symbol], sp.Expr], sp.Symbol] = {}

    def renamed(product: sp.Expr) -> sp.Expr:
        power = product.as_powers_dict()[small]
        drawn = frozenset(product.free_symbols & set(names))
        if not drawn:
            return product
        first = min(drawn, key=lambda s: (not isinstance(names[s], Matrix | Back), s.name)).name
        symbol = groups.setdefault((drawn, power), sp.Symbol(f"varepsilon_{first.replace('^', '')}", positive=True))
        return product / small**power * symbol

    def changed(body: sp.Expr) -> sp.Expr:
        return body.replace(lambda e: e.is_Mul and small in e.as_powers_dict(), renamed)

    statements = tuple(replace(s, body=changed(s.body)) if hasattr(s, "body") else s for s in program.statements)
    return replace(program, statements=statements, update=changed(program.update)), groups


def _apart(program: Program) -> tuple[Program, list[tuple[sp.Symbol, str, sp.Expr]]] | None:
    """One symbol for each branch that a power of the small parameter multiplies, if it does nothing else; None for a single first power."""
    program, groups = _named(program, step)
    if len(groups) == 1 and not _has(program, step):
        (((_, power), symbol),) = groups.items()
        alone = program.xreplace({symbol: step})
        return None if power == 1 else (alone, [(step, "", power)])
    each = [symbol for drawn, _ in groups for symbol in drawn]
    if len(groups) < 2 or len(set(each)) < len(each) or len(set(groups.values())) < len(groups) or _has(program, step):
        return None
    return program, [(symbol, symbol.name.partition("_")[2], power) for (_, power), symbol in groups.items()]


def _with_means(program: Program, wholes: Mapping[str, str]) -> tuple[Program, list[Size]]:
    """A mean of a free size for each matrix whose output is added to the state; beside a mean of its own, a factor of it.

    Parts of one matrix, which all have a mean of their own or all have none, share the size.
    """
    rule: dict[Weights, Weights] = {}
    sizes: dict[tuple[str, bool], Size] = {}
    for s in program.statements:
        if not isinstance(s, Matrix) or s.weights in rule or s.weights.is_mean or not _is_added(program, s.symbol):
            continue
        own = s.weights.mean
        name = wholes.get(s.weights.name, s.weights.name)
        symbol = sp.Symbol(f"mu_{name}", positive=True)
        rule[s.weights] = s.weights.with_numbers(mean=symbol * (1 if own == 0 else own))
        sizes.setdefault(
            (name, own == 0), Size(symbol, exponent_of(symbol), Role.MEAN, name, None if own == 0 else sp.S.Zero)
        )
    statements = tuple(
        replace(s, weights=rule.get(s.weights, s.weights)) if isinstance(s, Matrix | Back) else s
        for s in program.statements
    )
    return replace(program, statements=statements), list(sizes.values())


def _is_added(program: Program, symbol: sp.Symbol) -> bool:
    """Whether an output enters the new state linearly, whatever it is multiplied by, and no norm reads it, behind which means are not followed."""
    slope = sp.diff(program.update, symbol)
    norms = {s.symbol for s in program.statements if isinstance(s, Mean)}
    if program.update.coeff(symbol, 0).free_symbols & norms:
        return False  # the next layer's norm reads it
    if any(isinstance(s, Mean) and s.body.has(symbol) and program.update.has(s.symbol) for s in program.statements):
        return False
    return bool(slope != 0 and sp.diff(slope, symbol) == 0)
