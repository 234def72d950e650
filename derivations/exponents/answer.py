"""The answer of scalings: in a few lines what the network does as it stands and what would have a limit, then step by step."""

from __future__ import annotations

import sympy as sp

from derivations.errors import DerivationError
from derivations.exponents.family import Role
from derivations.exponents.found import Found
from derivations.exponents.map_words import maps_step
from derivations.exponents.regimes import ScalingRegime
from derivations.exponents.words import (
    conditions,
    family_step,
    outside_step,
    regime_step,
    scores_step,
    smaller,
    stands_step,
    terms_step,
)
from derivations.notation.nodes import letter
from derivations.notation.plain import Words
from derivations.notation.steps import Step
from derivations.symbols import depth

#: What each kind of limit means, for neurons at a fixed width and for second moments otherwise.
_MEANS = {
    ("drift only", True): ": a flow, the same for all networks",
    ("noise only", True): ": neurons diffuse without a drift",
    ("drift and noise", True): ": neurons drift and diffuse",
    ("drift only", False): ": variances and correlations follow a flow, the same for all networks",
    ("noise only", False): ": variances and correlations diffuse without a drift and differ from network to network",
    ("drift and noise", False): ": variances and correlations drift, diffuse and differ from network to network",
}


def steps(found: Found) -> tuple[Step, ...]:
    """All steps."""
    shown = [family_step(found)]
    if found.regimes:
        shown.insert(0, short_step(found))
    if found.maps is not None:
        shown.append(maps_step(found.maps))
    if found.terms is None:
        shown.append(
            Step(
                "Limits",
                ("None by exponents alone: ", found.why, "."),
                (),
                ("Exponents give limits where a layer whose branches are small is near the identity or a projection.",),
            )
        )
        return tuple(shown)
    shown.append(terms_step(found))
    shown += [regime_step(found, regime, k) for k, regime in enumerate(found.regimes, 1)]
    shown += _scores_steps(found)
    shown.append(outside_step(found))
    if found.family.stands and found.is_placed:
        shown.append(stands_step(found))
    return tuple(shown)


def _scores_steps(found: Found) -> list[Step]:
    """What attention does at other powers of the number of keys, or why that is not derived."""
    try:
        return [scores_step(found)] if found.scores else []
    except DerivationError as error:
        claim = ("What other powers of the number of keys do is not derived: ", str(error), ".")
        return [Step("Scores", claim, (), ("The exponents above hold at the power that the network has.",))]


def short_step(found: Found) -> Step:
    """What the network does as it stands, and what would have a limit, before anything is derived."""
    items: list[Words] = []
    if found.family.stands and found.is_placed:
        stands = stands_step(found)
        items.append((*stands.claim, *stands.because[1:]))
    if changed := one_changed(found):
        words: Words = ("With one size changed and the others as they are there is a limit: ",)
        for k, relation in enumerate(changed):
            words += ((" or " if k else ""), relation)
        items.append((*words, "."))
    alone = found.family.order == "depth"
    items += [
        ("A limit for ", *conditions(r), _MEANS[r.kind, alone], *(_times(found, r) if alone else ()), ".")
        for r in found.regimes
    ]
    introduced = ""
    if found.family.introduced is not None:
        introduced = (
            f"; {'those of the branches are' if found.family.has_branches else 'that of the branch is'} introduced here"
        )
    because = f"Derived below. With smaller sizes {smaller(found)}, and larger ones are too strong for a limit."
    if alone:
        because += " A time follows from your numbers: well below 1 the network is still close to the identity."
    return Step(
        "In short",
        ("Sizes go with the depth L as ", depth ** (-letter("p")), ", each with its exponent", introduced, ":"),
        (),
        (because,),
        tuple(items),
    )


def _times(found: Found, regime: ScalingRegime) -> Words:
    """How long the surviving terms run in L layers."""
    words: Words = (", over a time of ",)
    for k, powers in enumerate(dict.fromkeys((*regime.drift, *regime.noise))):
        words += ((" and " if k else ""), depth * found.monomial(powers))
    return words


def one_changed(found: Found) -> list[sp.Eq]:
    """The exponents of one size with which the network has a limit, the others as they are; none if it has one or keeps no size."""
    if not found.is_placed or found.at().kind not in ("identity", "too strong"):
        return []
    sizes = found.family.sizes
    away = {size.exponent: sp.oo for size in sizes if size.role is Role.MEAN and size.stands is None}
    stands = {**found.family.stands, **away}
    made: dict[sp.Eq, None] = {}
    for size in sizes:
        p = size.exponent
        others = {symbol: value for symbol, value in stands.items() if symbol != p}
        for regime in found.regimes:
            there = [c.subs(others) for c in regime.conditions]
            for value in {v for c in there if isinstance(c, sp.Eq) for v in sp.solve(c, p)}:
                signed = value <= 0 if size.grows else value >= 0
                if value.is_Rational and signed and all(c.subs(p, value) == sp.true for c in there):
                    made[sp.Eq(p, value)] = None
    return list(made)
