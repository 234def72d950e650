"""Each step of scalings, in words that whoever asks about a network understands."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from derivations.explain.recursion import recursion_step
from derivations.exponents.course import Course
from derivations.exponents.family import Role
from derivations.exponents.found import Found, Verdict
from derivations.exponents.map_words import maps_step, number_shown
from derivations.exponents.regimes import ScalingRegime, width_exponent
from derivations.exponents.scores import score_exponent
from derivations.exponents.terms import Powers
from derivations.notation.nodes import Rate, Word, letter
from derivations.notation.numbers import with_few_digits
from derivations.notation.plain import Words
from derivations.notation.shares import with_named_shares
from derivations.notation.steps import Line, Step, Term, equation, result
from derivations.symbols import depth, mean_square, step, time

_DIGITS = 6


def family_step(found: Found) -> Step:
    """The layer with its sizes as powers of the depth."""
    made = found.family
    formulas = (made.program.update, *(s.body for s in made.program.statements if hasattr(s, "body")))
    long = set().union(*map(_long, formulas))
    shown = made.program.xreplace({number: sp.N(number, _DIGITS) for number in long})
    base = recursion_step(shown, made.coordinates, step)
    lines = tuple(
        Line(size.symbol, (Term(letter(f"sigma_{k}" if len(made.sizes) > 1 else "sigma") * depth ** (-size.exponent)),))
        for k, size in enumerate(made.sizes, 1)
    )
    if made.order == "joint":
        lines += (equation(made.program.neurons.size, depth**width_exponent),)
    items: list[Words] = [(size.symbol, f": {size.words}") for size in made.sizes]
    kept = made.introduced
    sentence: Words = (
        "Exponents of sizes that go to 0 are at least 0, those of sizes that grow at most 0; factors before the powers are free.",
    )
    if made.order != "depth":
        sentence += (" Neurons start as Gaussian ones, as behind a first random matrix.",)
    if made.order != "depth" and found.net.width.is_Integer:
        goes = "grows with the depth" if made.order == "joint" else "is infinite"
        sentence += (f" The width {goes} here, and the network's own, ", found.net.width, ", is not used.")
        if made.order == "joint":
            sentence += (" For a width that stays, ask with order='depth'.",)
    if kept is not None and made.sizes:
        sentence += (
            " The layer has no small parameter as it stands; "
            f"{'sizes of its branches were' if made.has_branches else 'the size of its branch was'} introduced, and the layer is that of size ",
            sp.sqrt(1 - kept**2) if kept != 1 else sp.S.One,
            ".",
        )
    return Step(
        "Sizes",
        ("One layer of ", depth, " with its sizes as powers of the depth:"),
        (*base.lines, *lines),
        sentence,
        tuple(items),
    )


def _sum(found: Found, table: dict[Powers, tuple[sp.Expr, ...]], place: int) -> sp.Expr:
    total = sp.Add(*(row[place] * found.monomial(powers) for powers, row in table.items() if place < len(row)))
    return with_few_digits(total, _DIGITS)


def _long(expr: sp.Expr) -> set[sp.Rational]:
    """Numbers that nobody reads, as the constants of SELU."""
    return {number for number in expr.atoms(sp.Rational) if len(str(number)) > 2 * _DIGITS}


def terms_step(found: Found) -> Step:
    """Which monomials one layer adds."""
    made = found.terms
    assert made is not None
    drift = [found.monomial(p) for p in made.drift]
    noise = [found.monomial(p) for p in made.noise]
    smaller = bool(made.wide) and found.family.order == "joint"
    items: list[Words] = [_listed("In the mean", drift), _listed("In the covariance", noise, smaller)]
    seen: Words = (
        ("The sizes enter polynomially to this order: no other monomial can matter.",)
        if made.complete
        else (f"Monomials of a degree above {made.degree} were not looked at.",)
    )
    return Step(
        "One layer",
        ("What a layer adds, given the state, consists of these monomials, each with a coefficient in the state:",),
        (),
        (
            "A monomial of size ",
            depth ** (-letter("e")),
            " adds ",
            depth ** (1 - letter("e")),
            " in all layers: it survives for ",
            sp.Eq(letter("e"), 1),
            " and explodes for less. ",
            *seen,
        ),
        tuple(items),
    )


def _listed(head: str, monomials: list[sp.Expr], has_smaller: bool = False) -> Words:
    if not monomials:
        return (f"{head}: none{' but smaller ones, with a factor 1/n' if has_smaller else ''}.",)
    sentence: Words = (f"{head}: ",)
    for k, one in enumerate(monomials):
        sentence += ((", " if k else ""), one)
    return (*sentence, ".")


def regime_step(found: Found, regime: ScalingRegime, k: int) -> Step:
    """One regime: its conditions, what survives, how long it runs and what lies beyond."""
    made = found.terms
    assert made is not None
    claim: Words = (f"A limit with {regime.kind}, for ", *conditions(regime), ".")
    lines = []
    if found.family.order == "depth":
        if regime.drift:
            lines.append(
                Line(Word("mean change of a neuron"), (Term(_sum(found, {p: made.drift[p] for p in regime.drift}, 0)),))
            )
        if regime.noise:
            lines.append(Line(Word("its variance"), (Term(_sum(found, {p: made.noise[p] for p in regime.noise}, 0)),)))
    else:
        entry = "V_11" if found.family.order == "joint" else "K_11"
        for place, name in enumerate((entry, entry.replace("11", "12"))):
            total = _sum(found, {p: made.drift[p] for p in regime.drift}, place)
            lines.append(Line(Rate(sp.Symbol(name), time), (Term(total),)))
        if regime.noise:
            lines.append(
                Line(Word("covariance of V_11"), (Term(_sum(found, {p: made.noise[p] for p in regime.noise}, 0)),))
            )
    if found.family.order == "depth":
        clocks = {
            p: "the means' time" if p in regime.drift else "the noise's time" for p in (*regime.drift, *regime.noise)
        }
        lines += [
            Line(Word(f"{'time' if len(clocks) == 1 else which} of L layers"), (Term(depth * found.monomial(p)),))
            for p, which in clocks.items()
        ]
    because: Words = (f"These terms are of the size of a layer's time. If all of them are smaller, {smaller(found)}.",)
    shown, named = with_named_shares(tuple(lines))
    return result(
        f"Regime {k}: {regime.kind}", claim, shown, (*because, *beyond(found, (*regime.drift, *regime.noise)), *named)
    )


def smaller(found: Found) -> str:
    """What the network does where all terms are smaller than a layer's time."""
    return "variances and correlations stay as they are" if found.unseen else "the network tends to the identity"


def scores_step(found: Found) -> Step:
    """By which power of the number of keys scores may be divided."""
    lines = []
    for regime in found.scores:
        for place, entry in enumerate(("K_11", "K_12")):  # where norms keep the first, the second moves
            speed = sp.S.Zero if regime.drift is None else _sum(found, regime.drift, place)
            if speed != 0:
                lines.append(Line(Rate(sp.Symbol(entry), time), (Term(speed),), "=", regime.condition))
                break
    items: list[Words] = [(regime.condition, f": {regime.attention}.") for regime in found.scores]
    return Step(
        "Scores",
        ("Scores are sums over k neurons, divided by ", letter("k") ** score_exponent, ":"),
        tuple(lines),
        (
            "At infinite width a centred sum over the root of k is Gaussian, and over a higher power of k it vanishes: then the softmax is that of equal "
            "scores, all positions see the same, and their correlations collapse. What scores that grow leave is not derived.",
        ),
        tuple(items),
    )


def conditions(regime: ScalingRegime) -> Words:
    """On the exponents of a regime."""
    sentence: Words = ()
    for j, relation in enumerate(regime.conditions):
        sentence += ((", " if j else ""), relation)
    return sentence


def beyond(found: Found, powers: Sequence[Powers], far: str = " If they are larger") -> Words:
    """What happens beyond the regime of some terms, and of which widths that is said."""
    course = found.long_run(powers)
    words = _gone(course, far)
    if course is None or not found.wants_width:
        return words
    if found.family.order == "depth":
        return (
            *words,
            " This is said of infinite width; at a fixed one noise moves the mean square of each network too.",
        )
    resting = (" This is said of widths that grow faster than that time.",) if course.kind == "rests" else ()
    return (*words, *resting)


def _gone(course: Course | None, far: str) -> Words:
    if course is None:
        return (
            f"{far}, these terms act for a time that grows with the depth; what the mean square of the neurons does in a long time is not derived.",
        )
    v = mean_square
    if course.kind == "rests":
        return (
            f"{far}, the mean squares of neurons stay, and the correlations of inputs are after a vanishing share of the layers what they become in a "
            "long time.",
        )
    if course.kind == "settles":
        sentence: Words = (f"{far}, the mean square of the neurons settles at ",)
        for k, value in enumerate(course.values):
            sentence += ((" or " if k else ""), number_shown(value))
        return (*sentence, " within a vanishing share of the layers, and correlations at their fixed point.")
    if course.kind == "vanishes":
        return (f"{far}, the mean square of the neurons vanishes.",)
    if course.kind == "explodes":
        return (
            f"{far}, the mean square of the neurons explodes after finitely many of them: it grows like a power of itself, ",
            v**course.power,
            ".",
        )
    assert course.power is not None
    if course.power == 1:
        return (
            f"{far}, the mean square of the neurons grows exponentially in the time, the depth times the monomial.",
        )
    power = 1 / (1 - course.power)
    grown = "in proportion to the time" if power == 1 else f"like the power {power} of the time"
    grown = f"at most {grown}" if course.kind == "at most" else grown
    return (f"{far}, nothing explodes: the mean square of the neurons grows {grown}, the depth times the monomial.",)


def outside_step(found: Found) -> Step:
    """What the network does in no regime."""
    finite: Words = ()
    zero = (
        " At exponent 0 of a branch all its powers are of one size, and a layer is near the identity by its width alone."
        if found.is_near_by_its_width
        else " At exponent 0 of a branch a layer is not near the identity, and there is no limit in depth: the network is a Markov chain that changes "
        "by as much as its state in each layer.",
    )
    if any(size.role is Role.MEAN for size in found.family.sizes):
        finite = (" At exponent 0 of a mean its powers are no smaller than 1: derive the network with that mean.",)
    assert found.exponents is not None
    if not found.exponents.monomials:
        stay = "variances and correlations stay as they are" if found.net.width == sp.oo else "the state stays as it is"
        claim: Words = (f"No monomial moves anything: {stay} at all exponents above 0.",)
        return Step("Elsewhere", claim, (), ("There is nothing whose size could be chosen.", *zero, *finite))
    return Step(
        "Elsewhere",
        (
            "Where every monomial is smaller than ",
            1 / depth,
            f", {smaller(found)}. Where one is larger, its flow runs for a time that grows with the depth.",
        ),
        (),
        (
            "A power of the depth in front of a flow is a time that goes to infinity.",
            *zero,
            *finite,
        ),
    )


def _not_near_identity(found: Found, verdict: Verdict) -> tuple[Words, Words]:
    """Of a layer that changes its state by as much as it is: what it keeps, and where that leads."""
    kept, changed = found.family.introduced, ("A layer changes the state by as much as it is.",)
    leads: Words = ()
    if found.maps is not None:
        leads = (" At infinite width:", *(word for item in maps_step(found.maps).items for word in (" ", *item)))
    if kept is None or kept == 1:
        leading = tuple(m for m in verdict.sizes if verdict.sizes[m] == verdict.excess)
        leads = leads if found.long_run(leading) is None else beyond(found, leading, " Over the layers")
        shrinks = "branches do" if found.family.has_branches else "branch does"
        return (f"As it stands the {shrinks} not shrink with the depth, so that there is no limit in depth.",), (
            *changed,
            *leads,
        )
    if kept == 0:
        together = (" Depth and width together have one: derive(net) gives it.",) if found.has_joint_limit else ()
        return ("As it stands a layer replaces its state, so that there is no limit in depth alone.", *together), (
            *changed,
            *leads,
        )
    return (
        "As it stands a layer keeps ",
        kept,
        " of its state at any depth, and ",
        kept**depth,
        " of the input is left after all of them: the network settles in finitely many layers, and has no limit in depth.",
    ), (*changed, *leads)


def _of_identity(found: Found, verdict: Verdict) -> tuple[Words, Words]:
    """Of a network whose second moments stay, and at a fixed width its neurons."""
    grown = (" Larger branches have a limit, under the conditions above.",) if found.regimes else ()
    because: Words = ("All monomials are smaller than a layer's time.", *grown)
    if not found.unseen:
        claim: Words = (
            "As it stands the network tends to the identity: what all layers add is of size ",
            depth**verdict.excess,
        )
        return (*claim, " in the mean square."), because
    own = found.unseen_sizes()
    moved = max(own.values(), default=sp.S.NegativeInfinity)
    claim = ("As it stands variances and correlations stay as they are",)
    if verdict.sizes:
        claim += (": what all layers add to them is of size ", depth**verdict.excess)
    if moved < 0:
        return (
            *claim,
            "; and the network tends to the identity: neurons move by the size ",
            depth**moved,
            " in the mean square.",
        ), because
    how = "diffuse at a fixed size" if moved == 0 else "forget where they started"
    return (
        *claim,
        f", while single neurons {how}: what all layers add to them is of size ",
        depth**moved,
        " in the mean square.",
    ), because


def stands_step(found: Found) -> Step:
    """What the network does at the exponents that it has."""
    verdict = found.at()
    leading: tuple[Powers, ...]
    items: list[Words] = [(sp.Eq(s, p), "") for s, p in found.family.stands.items()]
    items += [("over all layers ", found.monomial(m), " adds ", depth**size) for m, size in verdict.sizes.items()]
    if verdict.kind == "limit" and verdict.regime is None and verdict.sizes and found.is_near_by_its_width:
        claim: Words = (
            "As it stands a layer moves variances and correlations by powers of 1/n alone: depth and width together have a limit, which "
            "derive(net) gives.",
        )
        because: Words = ("The branch does not shrink with the depth, and its powers are all of one size.",)
    elif verdict.kind == "limit":
        claim = ("As it stands the network is in a regime with a limit",)
        claim += (f": {verdict.regime.kind}.",) if verdict.regime else (".",)
        because = ("Its leading monomials are of the size of a layer's time.",)
    elif verdict.kind == "identity":
        claim, because = _of_identity(found, verdict)
    elif verdict.kind == "not continuous":
        claim, because = _not_near_identity(found, verdict)
    else:
        claim = (
            "As it stands the network has no limit: its leading monomials add ",
            depth**verdict.excess,
            ", a time that grows with the depth.",
        )
        leading = tuple(m for m in verdict.sizes if verdict.sizes[m] == verdict.excess)
        because = ("The flow of these terms runs on.", *beyond(found, leading, " So"))
    return Step("As it stands", claim, (), because, tuple(items))
