r"""What is known of a network's scalings: those that have a limit, and what it does at any exponents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, NoLimit, NotClosed, unknown
from derivations.existence.flows import SecondMoments
from derivations.exponents.course import Course, course
from derivations.exponents.family import Family, Role
from derivations.exponents.maps import LayerMaps, layer_maps
from derivations.exponents.regimes import Exponents, ScalingRegime, width_exponent
from derivations.exponents.scores import ScoreRegime, score_regimes
from derivations.exponents.terms import Powers, Terms, keeps_norm, norm_rates, unseen
from derivations.limits.gram import gram_matrix, upper
from derivations.limits.joint import joint_limit
from derivations.limits.meanfield import mean_symbols
from derivations.notation.plain import plain
from derivations.symbols import GRAM, mean_square, state, step, time
from derivations.symbols import width as any_width


class Times(dict[Powers, sp.Expr]):
    """For how long each term of a network as it stands runs, by its powers; shown by its monomial.

    Examples
    --------
    >>> c = sp.Symbol("c", positive=True)
    >>> Times({(2,): sp.Rational(36, 10**8)}, {(2,): c**2})
    c**2: 3.6e-07
    """

    def __init__(self, times: Mapping[Powers, sp.Expr], monomials: Mapping[Powers, sp.Expr]) -> None:
        super().__init__(times)
        self.monomials = monomials

    def __repr__(self) -> str:
        return "; ".join(f"{plain(self.monomials[m])}: {_decimal(time)}" for m, time in self.items())


def _decimal(time: sp.Expr) -> str:
    """Six digits of a number; a formula as it is."""
    return f"{float(time):.6g}" if time.is_Rational else plain(time)


@dataclass(frozen=True)
class Verdict:
    """What a network does at given exponents.

    Parameters
    ----------
    kind : {"limit", "identity", "too strong", "not continuous"}
    regime : ScalingRegime or None
        Of a limit; of what is too strong, that of the leading terms.
    sizes : dict
        From monomials to the exponent of the depth in what they add in all layers.
    course : Course or None
        Where terms that are too strong take the mean square of the neurons.
    """

    kind: str
    regime: ScalingRegime | None
    sizes: dict[Powers, sp.Expr]
    course: Course | None = None

    @property
    def excess(self) -> sp.Expr:
        """The exponent of the depth in the time that the leading terms run for: 0 for a limit, negative for the identity."""
        return max(self.sizes.values()) if self.sizes else sp.S.NegativeInfinity


@dataclass(frozen=True)
class Found:
    """The regimes of a network.

    Parameters
    ----------
    net : Recipe
    family : Family
        The layer in its sizes.
    terms : Terms or None
        What one layer adds; None where it moves the state however small the sizes are.
    why : str
        Then, the reason.
    """

    net: Recipe
    family: Family
    terms: Terms | None
    why: str = ""

    @cached_property
    def exponents(self) -> Exponents | None:
        """The polyhedron of exponents; None where there are no terms."""
        if self.terms is None:
            return None
        sizes = self.family.sizes
        symbols = tuple(size.exponent for size in sizes)
        signs = tuple(-1 if size.grows else 1 for size in sizes)
        # at 0 all powers of a branch are of one size, and those of a mean that moves nothing by itself but spreads what is drawn
        moving = {
            size.exponent
            for k, size in enumerate(sizes)
            if (size.role is Role.BRANCH and not size.grows)
            or (size.role is Role.MEAN and not any(powers[k] for powers in self.terms.drift))
        }
        if self.family.order == "joint":
            symbols, signs = (*symbols, width_exponent), (*signs, 1)
            moving.add(width_exponent)
        return Exponents(symbols, signs, self.terms, frozenset(moving))

    @property
    def regimes(self) -> tuple[ScalingRegime, ...]:
        """Every regime with a limit that is not trivial."""
        return () if self.exponents is None else self.exponents.regimes

    @cached_property
    def scores(self) -> tuple[ScoreRegime, ...]:
        """By which power of the number of keys the scores of attention may be divided, and what is left; empty without a softmax of scores."""
        return score_regimes(self.family)

    @cached_property
    def _maps(self) -> tuple[LayerMaps | None, str]:
        if self.family.introduced is None and self.terms is not None:
            return None, "the layer is continuous in depth"
        try:
            program = replace(
                self.net, width=any_width
            ).program()  # a number of neurons that is fixed does not go to infinity
        except DerivationError:
            program = self.net.program()
        if program.has_positions:
            return None, "the maps of variance and correlation are derived for layers without positions"
        try:
            return layer_maps(program), ""
        except (NotClosed, NoLimit) as error:
            return None, str(error)

    @property
    def maps(self) -> LayerMaps | None:
        """The maps of variance and correlation of a layer that is not near the identity as it stands; None where they are not known."""
        return self._maps[0]

    @property
    def why_no_maps(self) -> str:
        """Why there are none."""
        return self._maps[1]

    @cached_property
    def _norm_rates(self) -> dict[Powers, tuple[sp.Expr, sp.Expr]] | None:
        return None if self.terms is None else norm_rates(self.family, self.terms)

    @cached_property
    def wants_width(self) -> bool:
        """Whether the long run of mean squares, which is derived at infinite width, is another one for the neurons of single networks."""
        return self.terms is not None and self.family.order != "width" and not keeps_norm(self.family, self.terms)

    def long_run(self, powers: Sequence[Powers]) -> Course | None:
        """Where some terms take the mean square of the neurons in the long run, at infinite width; None where this is not decided."""
        count, known = len(self.family.sizes), self._norm_rates
        if known is None:
            return None
        rates = [known.get(p[:count], (sp.S.Zero, sp.S.Zero)) for p in powers if not any(p[count:])]
        if not rates:
            return None
        rate = sp.expand(sp.Add(*(row[0] for row in rates)))
        symbol = next((s for s in _DIAGONAL if rate.has(s)), mean_square)
        centred = dict.fromkeys(_MEANS, sp.S.Zero)
        if any((row[1] if self.family.order == "depth" else row[1].xreplace(centred)) != 0 for row in rates):
            return None  # the means move too
        rate = rate.xreplace(centred).doit()
        return course(rate, symbol) or self._bound(rate)

    def _bound(self, rate: sp.Expr) -> Course | None:
        """That the mean squares grow at most in proportion to the time, where the rate of one is bounded."""
        count = self.family.coordinates if self.family.program.has_positions else 1
        matrices = (gram_matrix(count, stem) for stem in (GRAM, "K"))
        states = next(
            (tuple(m[pair] for pair in upper(m.rows)) for m in matrices if rate.free_symbols <= m.free_symbols), None
        )
        if states is None or not rate.free_symbols:
            return None
        moments = SecondMoments.of(states, count)
        return Course("at most", sp.S.Zero) if moments.degree(rate.xreplace(moments.by_correlations)) == 0 else None

    def at(self, exponents: Mapping[sp.Symbol, object] | None = None) -> Verdict:
        """What the network does at some exponents.

        Parameters
        ----------
        exponents : mapping, optional
            From the exponents, or the sizes, to numbers; those that are left out are as the network has them, and parameters that it does
            not have stay away.

        Raises
        ------
        DerivationError
            For a name or a number that makes no sense, or an exponent that is not known.
        """
        found = self.exponents
        if found is None:
            return Verdict("not continuous", None, {})
        given, absent = self._point(exponents or {}, found)
        alive = [m for m in found.monomials if not any(m[k] for k in absent)]
        sizes = {m: found.size(given, m) for m in alive}
        if any(
            size.symbol in _branches(self.family) and given[size.exponent] <= 0 and not size.grows
            for size in self.family.sizes
        ):
            kind = "limit" if not exponents and self.is_near_by_its_width else "not continuous"
            return Verdict(kind, None, sizes)
        top = max(sizes.values(), default=sp.S.NegativeInfinity)
        leading = frozenset(m for m, value in sizes.items() if value == top)
        regime = next((r for r in self.regimes if r.surviving == leading), None)
        if top > 0:
            return Verdict("too strong", regime, sizes, self.long_run(tuple(leading)))
        return Verdict("identity" if top < 0 else "limit", regime, sizes)

    @cached_property
    def unseen(self) -> tuple[Powers, ...]:
        """What moves single neurons and neither their variances nor their correlations; neurons themselves are followed at a fixed width."""
        if self.terms is None or self.family.order == "depth":
            return ()
        of_width = (sp.S.Zero,) if self.family.order == "joint" else ()
        return tuple((*powers, *of_width) for powers in unseen(self.family, self.terms))

    def unseen_sizes(self) -> dict[Powers, sp.Expr]:
        """As the sizes of a verdict, of what moves single neurons alone in the network as it stands."""
        if self.exponents is None:
            return {}
        given, absent = self._point({}, self.exponents)
        return {m: self.exponents.size(given, m) for m in self.unseen if not any(m[k] for k in absent)}

    @cached_property
    def has_joint_limit(self) -> bool:
        """Whether the network as it stands has a limit of depth and width together, at the rates of its regime."""
        if self.family.order != "joint" or not self.net.regime.is_joint:
            return False
        try:
            joint_limit(replace(self.net, width=any_width))
        except DerivationError:
            return False
        return True

    @property
    def is_near_by_its_width(self) -> bool:
        """Whether a layer with a branch of order 1 moves second moments by powers of 1/n alone, and so has a limit in its regime."""
        count = len(self.family.sizes)
        return (
            self.exponents is not None
            and all(powers[count:] and powers[count] > 0 for powers in self.exponents.monomials)
            and self.has_joint_limit
        )

    @property
    def is_placed(self) -> bool:
        """Whether the network as it stands has all exponents, but those of means that it does not have."""
        said = {*self.family.stands, *({width_exponent} if self.net.regime.depth is not None else ())}
        open_ = {size.exponent for size in self.family.sizes if size.role is not Role.MEAN} - said
        return not open_ and (self.family.order != "joint" or width_exponent in said)

    def _point(
        self, exponents: Mapping[sp.Symbol, object], found: Exponents
    ) -> tuple[dict[sp.Symbol, sp.Expr], set[int]]:
        names = {size.symbol: size.exponent for size in self.family.sizes}
        given: dict[sp.Symbol, sp.Expr] = dict(self.family.stands)
        if self.net.regime.depth is not None and self.family.order == "joint":
            given[width_exponent] = 1 / self.net.regime.depth
        for key, value in exponents.items():
            symbol = self._symbol("exponent", names.get(key, key), found.symbols)
            number = exact_decimals(value)
            if not number.is_Rational:
                raise DerivationError(f"the exponent {symbol} must be a rational number, got {value!r}; e.g. 1/2")
            if symbol == width_exponent and not number > 0:
                raise DerivationError(
                    f"the width grows with the depth here, so its exponent {symbol} is above 0, got {value!r}; ask scalings with order='depth' "
                    "for a width that stays"
                )
            given[symbol] = number
        absent = {
            k for k, size in enumerate(self.family.sizes) if size.exponent not in given and size.role is Role.MEAN
        }
        missing = [s for k, s in enumerate(found.symbols) if s not in given and k not in absent]
        if missing:
            raise DerivationError(
                f"the network does not say the exponent {missing[0]}; give it, e.g. at({{{missing[0]}: 1/2}})"
            )
        return {**given, **{found.symbols[k]: sp.S.Zero for k in absent}}, absent

    def _symbol(self, what: str, key: object, known: Sequence[sp.Symbol]) -> sp.Symbol:
        """The size or the exponent that is meant, by itself or by its name."""
        for symbol in known:
            if key == symbol or str(key) == str(symbol):
                return symbol
        if str(key) in {str(s) for s in self.net.expression().free_symbols - {state, step, time, any_width}}:
            raise DerivationError(
                f"{key} is a parameter that stays as it is here, and sizes that go with the depth are "
                f"{', '.join(str(size.symbol) for size in self.family.sizes)}; scalings(net, small=({key},)) has it among them"
            )
        raise DerivationError(unknown(what, str(key), map(str, known)))

    def monomial(self, powers: Powers) -> sp.Expr:
        """A monomial in the sizes and the number of neurons."""
        sizes = self.family.sizes
        made = sp.Mul(*(size.symbol**p for size, p in zip(sizes, powers, strict=False)))
        return made / self.family.program.neurons.size ** powers[len(sizes)] if len(powers) > len(sizes) else made

    def times(self, depth: object, values: Mapping[sp.Symbol, object]) -> Times:
        """The time that each term runs for in a network as it stands: the depth times the monomial at values of the sizes.

        At 1 a term has done what its limit does in a unit of time; well below, nothing.

        Parameters
        ----------
        depth : int
            How many layers.
        values : mapping
            From sizes to numbers; means that are left out are 0.
        """
        if self.exponents is None:
            raise NoLimit(self.why)
        layers = exact_decimals(depth)
        if not (layers.is_Integer and layers.is_positive):
            raise DerivationError(f"depth must be a positive whole number, got {depth!r}")
        sizes = [size.symbol for size in self.family.sizes]
        given = {self._symbol("size", key, sizes): value for key, value in values.items()}
        missing = [
            s for s, size in zip(sizes, self.family.sizes, strict=True) if s not in given and size.role is not Role.MEAN
        ]
        if missing:
            raise DerivationError(f"a value of {missing[0]} is needed; give it, e.g. {{{missing[0]}: 0.1}}")
        numbers = [exact_decimals(given.get(s, 0)) for s in sizes]
        if self.family.order == "joint":
            numbers.append(1 / self.net.width)
        found = {m: layers * sp.Mul(*(v**p for v, p in zip(numbers, m, strict=True))) for m in self.exponents.monomials}
        times = {m: value for m, value in found.items() if value != 0}
        return Times(times, {m: self.monomial(m) for m in times})


#: The first input's mean square, at a finite and at infinite width, and the means, as limits of two inputs or of one have them.
_DIAGONAL = tuple(gram_matrix(inputs, stem)[0, 0] for inputs in (1, 2) for stem in (GRAM, "K"))
_MEANS = (*mean_symbols(1), *mean_symbols(2))


def _branches(found: Family) -> set[sp.Symbol]:
    return {size.symbol for size in found.sizes if size.role is Role.BRANCH}
