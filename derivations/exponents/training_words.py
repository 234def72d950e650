"""The first step of training as named steps, in words that whoever asks about a network understands."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from derivations.explain.recursion import recursion_step
from derivations.exponents.at_point import PARAMETRIZATIONS, RULES, readout_exponent
from derivations.exponents.moved import INPUT, READOUT, Moved, Power, StepVerdict
from derivations.exponents.orders import Order
from derivations.exponents.training import FirstStep
from derivations.notation.nodes import Word, indexed, letter
from derivations.notation.plain import Words
from derivations.notation.steps import Line, Step, Term
from derivations.symbols import depth, state, step
from derivations.symbols import width as n

_RULE = {"sgd": "Gradient descent", "sign": "Steps of sign type, as Adam's first one"}
_ENTRIES = {"standard": "standard", "ntk": "NTK"}
_HALF = sp.Rational(1, 2)
_STEPS = 3


def training_steps(found: FirstStep) -> tuple[Step, ...]:
    """All steps."""
    shown = [_short_step(found), _network_step(found), _orders_step(found)]
    for rule in RULES:
        shown += [_moved_step(found, rule), _rates_step(found, rule)]
    shown.append(_common_step(found))
    if idle := [row.name for row in found.moved("sign", readout=1) if row.role == "hidden" and row.own.vanishes]:
        shown.append(_later_step(found, idle))
    return tuple(shown)


def _order(order: Order) -> sp.Expr:
    if order.nothing:
        return sp.S.Zero
    return n ** sp.Rational(order.width.numerator, order.width.denominator) * depth ** sp.Rational(
        order.depth.numerator, order.depth.denominator
    )


def _power(power: Power) -> sp.Expr:
    return sp.S.Zero if power.width is None or power.depth is None else n**power.width * depth**power.depth


def _as_it_stands(found: FirstStep, power: Power) -> sp.Expr:
    """A power at the network's own exponents, with the readout of the maximal update."""
    stands = {s: sp.Rational(p.numerator, p.denominator) for s, p in found.stands.items()}
    return _power(power).xreplace({**stands, readout_exponent: sp.S.One})


def _short_step(found: FirstStep) -> Step:
    """The largest learning rates, and what a coordinate check sees."""
    items: list[Words] = []
    for rule in RULES:
        rows = [row for row in found.moved(rule, readout=1) if row.role == "hidden" and not row.rate.vanishes]
        words: Words = (f"{_RULE[rule]}: ",)
        for k, row in enumerate(rows):
            words += (", " if k else "", f"{_label(row)} ", _as_it_stands(found, row.rate))
        if rows:
            items.append((*words, "."))
    items += _grows_at_the_readout(found.moved(RULES[0], readout=1))
    return Step(
        "In short",
        (
            "How large learning rates may be for features and output to move by at most order 1, at the network's exponents and ",
            sp.Eq(readout_exponent, 1),
            ", in the width ",
            n,
            *((" and the depth ", depth) if found.is_deep else ()),
            ":",
        ),
        (),
        ("Derived below, for the first step from a random start.",),
        tuple(items),
    )


def _network_step(found: FirstStep) -> Step:
    made = found.family
    base = recursion_step(made.program, made.coordinates, step)
    lines = (
        Line(indexed("x", (0,)), (Term(indexed("U", ()) * letter("a")),)),
        Line(letter("f"), (Term(letter("v") * indexed("x", (depth,))),)),
        Line(Word("standard deviation of v"), (Term(n**-readout_exponent),)),
    )
    sizes = tuple(Line(size.symbol, (Term(depth ** (-size.exponent)),)) for size in made.sizes)
    items: list[Words] = [(size.symbol, f": {size.words}") for size in made.sizes]
    if found.why:
        items.append(
            (f"Whether the network has a limit in the depth is not known ({found.why}), and the depth is held fixed.",)
        )
    fixed = sorted(
        {s.target.said for s in made.program.statements if hasattr(s, "target") and s.target.said.is_number}, key=str
    )
    if fixed:
        items.append(("Numbers of neurons that are given as numbers stay as the width grows: ", *_listed(fixed), "."))
    names = ", ".join(found.trained)
    if found.ends:
        names = f"U, {names} and v"
    return Step(
        "Network",
        (
            f"Input, layers and readout; {names} are trained, the derivative of the loss in f is of order 1. The width ",
            n,
            " grows first, then the depth ",
            depth,
            ".",
        ),
        (*base.lines, *sizes, *lines),
        (
            "Entries of U are of order 1. The usual readout has ",
            sp.Eq(readout_exponent, _HALF),
            "; that of the maximal update has ",
            sp.Eq(readout_exponent, 1),
            ".",
        ),
        tuple(items),
    )


def _listed(values: list[sp.Expr]) -> Words:
    words: Words = ()
    for k, value in enumerate(values):
        words += ((", " if k else ""), value)
    return words


def _orders_step(found: FirstStep) -> Step:
    layer = found.layer(found.point())
    lines = [
        Line(Word(f"order of {s.name}"), (Term(_order(layer.forward[s])),))
        for s in (state, *(s.symbol for s in found.family.program.statements))
        if s in layer.gradient
    ]
    lines += [
        Line(Word(f"gradient in {s.name}"), (Term(_order(layer.gradient[s] / layer.incoming) * n**-readout_exponent),))
        for s in (state, *(s.symbol for s in found.family.program.statements))
        if not layer.gradient[s].nothing
    ]
    return Step(
        "Forward and backward",
        ("At the start, neuron by neuron and at the exponents that the network has:",),
        tuple(lines),
        (
            "A sum over neurons of terms with random signs is of the order of the root of their number. Backwards each use of a symbol adds its part; "
            "signs of the gradient are random, since the readout's weights have random signs.",
        ),
    )


def _label(row: Moved) -> str:
    return {"bias": f"biases of {row.name}"}.get(row.role, _short(row.name))


def _moved_step(found: FirstStep, rule: str) -> Step:
    lines: list[Line] = []
    items: list[Words] = []
    for row in found.moved(rule, readout=1):
        name = _label(row)
        if row.own.vanishes:
            items.append(
                (
                    f"{name} has no gradient at the first step: its output is multiplied by a matrix of zeros, or what it reads is 0.",
                )
            )
            continue
        if row.role != READOUT:
            if row.role != INPUT:
                lines.append(Line(Word(f"{name}: what it puts out"), (Term(_power(row.own)),)))
            lines.append(Line(Word(f"{name}: the state"), (Term(_power(row.state)),)))
        lines.append(Line(Word(f"{name}: the output"), (Term(_power(row.output)),)))
    gradient: Words = (
        ("A step of ", letter("y"), " = Ab is the gradient ", letter("delta"), "b^T times the learning rate. ")
        if rule == "sgd"
        else ("Each entry moves by the learning rate in the direction of its gradient's sign. ",)
    )
    return Step(
        f"{_RULE[rule]}: one step",
        ("What the step of each matrix changes, at a learning rate of order 1:",),
        tuple(lines),
        (
            *gradient,
            "What it does to y is a sum of terms with one sign over the neurons that A reads, so it is of the order of their number. "
            "It lies along the gradient: the parts of all layers that do so add up, ",
            depth,
            " of them, and other parts as random ones do.",
        ),
        tuple(items),
    )


def _rates_step(found: FirstStep, rule: str) -> Step:
    rows = found.moved(rule, readout=1)
    lines = [
        Line(Word(f"learning rate of {_label(row)}"), (Term(_power(row.rate)),))
        for row in rows
        if not row.rate.vanishes
    ]
    items: list[Words] = []
    if not found.is_deep:
        items.append(
            ("The depth is held fixed: a layer is not near the identity, and there is no power of the depth.",)
        )
    elif found.branches:
        items.append(
            (
                "At the start the network has a limit in the depth, or tends to the identity: ",
                *_relations(found.branches),
                ".",
            )
        )
    hidden = {row.name: row for row in rows if row.role == "hidden"}
    for name, relations in found.conditions(rule).items():
        if relations == (sp.false,):
            words: Words = (
                f"{name} does not move features by order 1 at any exponents: something inside a layer, such as the scores of attention, "
                "or the output grows before.",
            )
        else:
            words = (
                f"{name} moves features by order 1 at every depth",
                *((" for ", *_relations(relations)) if relations else ()),
            )
            row = hidden[name]
            words += ("; what it puts out in a layer then moves by ", _power(row.own_at_rate))
            if row.is_held_inside:
                words += (
                    ", and with more something inside a layer, such as the scores of attention, moves by more than order 1",
                )
            words += (".",)
        items.append(words)
    items += _grows_at_the_readout(rows)
    lines += [
        Line(Word(f"of {_label(row)}, at the network's exponents and r = 1"), (Term(_as_it_stands(found, row.rate)),))
        for row in rows
        if row.role == "hidden" and not row.rate.vanishes
    ]
    return Step(
        f"{_RULE[rule]}: rates that move features by order 1",
        (
            "The largest learning rate of each matrix with which neither features nor the output move by more than order 1, for ",
            sp.Eq(readout_exponent, 1),
            " and above:",
        ),
        tuple(lines),
        ("A change is in proportion to the learning rate, so the rate is one over the largest change above.",),
        tuple(items),
        is_result=True,
    )


def _grows_at_the_readout(rows: Sequence[Moved]) -> list[Words]:
    """What a coordinate check sees: by how much the output moves where a matrix moves features by order 1."""
    seen: dict[sp.Expr, list[str]] = {}
    for row in rows:
        if row.role == "hidden" and not (row.state.vanishes or row.output.vanishes):
            over = _power(row.output) / _power(row.state)
            if (power := sp.powsimp(over.xreplace({readout_exponent: _HALF}))) != 1:
                seen.setdefault(power, []).append(row.name)
    return [
        (
            "With the usual readout, ",
            sp.Eq(readout_exponent, _HALF),
            ", the output moves by ",
            power,
            f" at rates with which {' or '.join(names)} moves features by order 1: a coordinate check grows at the readout.",
        )
        for power, names in seen.items()
    ]


def _relations(relations: tuple[sp.Basic, ...]) -> Words:
    words: Words = ()
    for k, relation in enumerate(relations):
        words += ((", " if k else ""), relation)
    return words


def _common_step(found: FirstStep) -> Step:
    items: list[Words] = []
    for rule in RULES:
        for entries in PARAMETRIZATIONS:
            for r in (_HALF, sp.S.One):
                verdict = found.at(rule, readout=r, parametrization=entries)
                items.append(
                    (
                        f"{_RULE[rule].split(',')[0]}, {_ENTRIES[entries]}, ",
                        sp.Eq(readout_exponent, r),
                        ": ",
                        *_said(verdict),
                    )
                )
    return Step(
        "One learning rate for all",
        (
            "The largest one that moves nothing by more than order 1, and what it leaves. In the standard parametrization entries are trained "
            "as they are; in the NTK parametrization numbers of order 1 are trained, which are multiplied by the entries' standard deviations.",
        ),
        (),
        ("The matrix that needs the smallest rate sets it for all.",),
        tuple(items),
    )


def _later_step(found: FirstStep, idle: list[str]) -> Step:
    items: list[Words] = []
    for rule in RULES:
        verdict, next_ = (found.after(steps, rule) for steps in (_STEPS, _STEPS + 1))
        words: Words = (f"{_RULE[rule].split(',')[0]}: rate ", _rate(verdict))
        if (verdict.a, verdict.b) != (next_.a, next_.b):
            words += (", and with one step more ", _rate(next_))
        words += ("; the state moves by ", _order(verdict.state), ", the output by ", _order(verdict.output))
        for name, change in verdict.changes.items():
            words += (f", what {_short(name)} puts out by ", _order(change.own))
        items.append((*words, "."))
    return Step(
        "After several steps",
        (
            f"At the first step {', '.join(idle)} {'has' if len(idle) == 1 else 'have'} no gradient. The largest learning rate for all with which "
            f"{_STEPS} steps move neither features nor the output by more than order 1, for ",
            sp.Eq(readout_exponent, 1),
            ":",
        ),
        (),
        (
            "What steps have added to a matrix lies along gradients and what the matrix reads, and acts on both by sums of terms with one sign. ",
            "What a matrix puts out may grow where only another matrix reads it.",
        ),
        tuple(items),
        is_result=True,
    )


def _rate(verdict: StepVerdict) -> sp.Expr:
    return n**-verdict.a * depth**-verdict.b


def _short(name: str) -> str:
    return {INPUT: "U", READOUT: "v"}.get(name, name)


def _said(verdict: StepVerdict) -> Words:
    moved = {
        "features move": ("features at every depth move by order 1, the output by ", _order(verdict.output)),
        "lazy": ("lazy, features move by ", _order(verdict.state), " and the output by ", _order(verdict.output)),
        "nothing moves": ("features move by ", _order(verdict.state), ", the output by ", _order(verdict.output)),
        "too large": (
            "too large, features move by ",
            _order(verdict.state),
            ", the output by ",
            _order(verdict.output),
        ),
    }[verdict.kind]
    rest = [
        (name, change)
        for name, change in verdict.changes.items()
        if Order() > (size := max(change.state, change.output)) and not size.nothing
    ]
    words: Words = ("rate ", _rate(verdict), "; ", *moved, ".")
    for name, change in rest:
        words += (f" {_short(name)} moves less: ", _order(max(change.state, change.output)), ".")
    return words
