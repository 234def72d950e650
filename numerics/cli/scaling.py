"""The commands on what is not a limit: which exponents have one, a parameter for which it has a wanted value, and Jacobians."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

from derivations import DerivationError, Recipe, Scalings, TrainingScalings, scalings, symbols
from derivations.backward import jacobian
from derivations.decimals import exact_decimals
from derivations.notation.printed import Printed
from numerics.cli.asked import UNKNOWN, given_sizes, sought_option
from numerics.cli.destination import DOCUMENTS
from numerics.cli.output import as_json, put, put_json, shown_table
from numerics.cli.progress import slow_bar, slow_stage

#: What stands for the number that is sought in the recipe that is read from the command line.
_MARK = "104729/104723"
_FORMATS: dict[str, Callable[[Scalings | TrainingScalings | Printed], str]] = {
    "text": str,
    "latex": lambda found: found.latex() + "\n",
    "typst": lambda found: found.typst() + "\n",
    "json": lambda found: found.to_json(),
}


def put_derived(found: Scalings | TrainingScalings | Printed, options: argparse.Namespace) -> None:
    """Print it, or write it to a file, in the format that is asked for."""
    out = options.file
    kind = options.format or (DOCUMENTS[out.suffix] if out else "text")
    with slow_stage("derivation"):
        found.steps  # noqa: B018  made here, while it is announced
    if out and DOCUMENTS.get(out.suffix) == kind:
        found.write(out)
    else:
        put(_FORMATS[kind](found), out)


def run_jacobian(
    options: argparse.Namespace,
    network: Callable[[argparse.Namespace], Recipe],
    setting: Callable[[argparse.Namespace], dict[str, Any]],
) -> int:
    """Print the derivation of a Jacobian, or compare it with networks."""
    as_table = options.json
    as_json(options)
    net = network(options)
    with slow_stage("Jacobian"):
        found = jacobian(net, options.order)
    if not options.validate:
        put_derived(found, options)
        return 0
    if options.out is not None or (options.format is not None and not as_table):
        raise ValueError("--validate prints a table; leave out --out and --format")
    from numerics.validation import validate

    return shown_table(validate(found, samples=options.samples, **setting(options)), as_table)


def run_scalings(options: argparse.Namespace, network: Callable[[argparse.Namespace], Recipe]) -> int:
    """Print the regimes of a network, and draw them if that is wanted."""
    as_json(options)
    net = network(options)
    with slow_stage("scalings"):
        if options.training is None:
            found: Scalings | TrainingScalings = scalings(net, order=options.order)
        else:
            found = scalings(net, order=options.order, training=_trained(options.training))
    put_derived(found, options)
    if options.drawing:
        from numerics.plots import phase_figure, save

        save(phase_figure(found), options.drawing)
    return 0


def _trained(text: str) -> Literal[True] | tuple[str, ...]:
    """All matrices, or those that are named."""
    return tuple(name.strip() for name in text.split(",")) if text else True


def run_choose(options: argparse.Namespace, network: Callable[[argparse.Namespace], Recipe]) -> int:
    """Print the value of what is given as a question mark."""
    from numerics.targets import choose

    name, read = sought_option(options), given_sizes(options)
    sought = {"depth": symbols.depth, "t": symbols.time}.get(name)
    if sought is None:
        setattr(options, name, getattr(options, name).replace(UNKNOWN, f"({_MARK})" if name == "layer" else _MARK))
    net = network(options)
    if sought is None:
        net, sought = _with_symbol(net, name)
    with slow_bar("search") as progress:
        picked = choose(
            net,
            sought,
            norm=options.mean_square,
            correlation=options.correlation,
            quantile=options.quantile,
            depth=None if "depth" not in read else int(read["depth"]),
            t=read.get("t"),
            norm0=options.norm0,
            correlation0=options.correlation0,
            bounds=options.bounds,
            samples=options.samples,
            seed=options.seed,
            progress=progress,
        )
    if options.json:
        shown = ("statistic", "value", "target", "attained", "error", "reach", "others")
        put_json({"parameter": str(picked.parameter), **{name: getattr(picked, name) for name in shown}})
    else:
        print(picked)
    return 0


def _with_symbol(net: Recipe, name: str) -> tuple[Recipe, Any]:
    """The network with a symbol where the mark is; positive for all but slopes."""
    mark, word = exact_decimals(Fraction(_MARK)), "c" if name == "layer" else name
    symbol = symbols.state.func(word, **({"real": True} if word.startswith("c_") else {"positive": True}))
    changed = net.xreplace({mark: symbol})
    if changed.expression() == net.expression():
        raise DerivationError(f"the {UNKNOWN} is lost in {name.replace('_', '-')}; write it as a factor of its own")
    return changed, symbol
