"""What can be typed: the commands and their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

from numerics.cli.destination import DOCUMENTS
from numerics.cli.parsing import Completion, Lines, Parser, Version
from numerics.cli.shared import (
    add_inputs_followed,
    add_json,
    add_out,
    add_parameters,
    add_quick,
    add_random,
    add_recipe,
    add_seed,
    add_size,
    add_start,
    add_time,
)
from numerics.cli.values import NARROW, WIDE, Usual, bounds, depths, finite, pair, whole

DESCRIPTION = "Scaling limits of random neural networks, derived symbolically and checked by simulation."
FORMATS = ("text", "latex", "typst", "json", "html")
#: How the name of a table may end.
_TABLE = (".csv", ".json")

_Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    top = Parser(prog="deeplimits", description=DESCRIPTION)
    top.add_argument("--version", action=Version, nargs=0, help="show the version and exit")
    top.add_argument(
        "--print-completion",
        action=Completion,
        choices=Completion.SHELLS,
        help="print a completion script for this shell and exit, such as: deeplimits --print-completion bash > deeplimits.bash",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    for name, (does, build) in _COMMANDS.items():
        _command(commands, name, does).build = build
    return top


def _derive(derive: Parser) -> None:
    add_recipe(derive)
    add_parameters(derive)
    add_inputs_followed(derive)
    derive.add_argument("--format", choices=FORMATS, help="how it is written (by the suffix of --out, else text)")
    derive.add_argument(
        "--style",
        choices=("steps", "theorem"),
        default="steps",
        help="of a .tex file: step by step, or a theorem with its proof and references (steps)",
    )
    add_json(derive)
    add_out(
        derive,
        "FILE",
        "write to a file (.tex and .typ are documents for pdflatex and Typst) instead of standard output",
        lambda _: (*DOCUMENTS, ".html"),
    )


def _density(density: Parser) -> None:
    add_recipe(density, width=NARROW)
    add_start(density)
    density.add_argument(
        "--points",
        type=whole("points", 2, 10_000_000),
        default=201,
        metavar="N",
        help="rows of the table, evenly from the 0.1 %% to the 99.9 %% quantile (201)",
    )
    add_json(density)
    add_out(
        density,
        "FILE.csv",
        "write the columns x, pdf and cdf here instead of to standard output, or JSON (.json)",
        lambda _: _TABLE,
    )


def _output(output: Parser) -> None:
    add_recipe(output, width=NARROW)
    add_start(output, inputs=True)
    add = output.add_argument
    add(
        "--of",
        metavar="C,...",
        help="coefficients with which the outputs of all inputs are added, such as 1,-1 (1,0,...)",
    )
    for word in ("readout-variance", "readout-bias-variance"):
        value = float(word == "readout-variance")
        add(f"--{word}", type=finite(word), default=value, metavar="V", help=f"of the random readout ({value:g})")
    add("--quantiles", metavar="Q,...", help="print the quantiles at these probabilities instead of the density")
    add(
        "--points",
        type=whole("points", 2, 1_000_000),
        default=201,
        metavar="N",
        help="rows of the table, as of density (201)",
    )
    add(
        "--samples",
        type=whole("samples", 2),
        default=20_000,
        metavar="N",
        help="paths, where norms have no law (20000)",
    )
    add_random(output)
    add_json(output)
    add_out(output, "FILE.csv", "write the table here instead of to standard output, or JSON (.json)", lambda _: _TABLE)


def _simulate(simulate: Parser) -> None:
    add_recipe(simulate, width=NARROW)
    add_start(simulate, inputs=True)
    add_size(simulate, depth=1000, samples=10_000)
    simulate.add_argument(
        "--of",
        choices=("network", "sde"),
        default="network",
        help="networks, or the derived diffusion in as many steps as --depth says (network)",
    )
    simulate.add_argument(
        "--method",
        choices=("conditional", "weights"),
        default="conditional",
        help="draw each network layer given the last one by its law, or draw every weight (conditional)",
    )
    simulate.add_argument(
        "--dask",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="run on the Dask cluster at this address, or without one on processes started here; the result is the same",
    )
    simulate.add_argument(
        "--plan", action="store_true", help="print blocks, bytes and hours, measured on one block, and draw no more"
    )
    simulate.add_argument(
        "--hours",
        type=finite("hours"),
        default=24.0,
        metavar="H",
        help="the longest that drawing may take, as a short run says; of states too many to keep mean and quantiles are computed (24)",
    )
    simulate.add_argument(
        "--checkpoint", metavar="DIR", help="keep what is finished here, and go on from it when run again"
    )
    add_json(simulate)
    add_out(
        simulate,
        "FILE",
        "write the last states, .npy of shape (samples, width, inputs) or .csv",
        lambda _: (".npy", ".csv"),
    )


def _validate(validate: Parser) -> None:
    add_recipe(validate, width=NARROW)
    add_inputs_followed(validate)
    add_start(validate)
    add_size(validate, depth=None, samples=None)
    add_quick(validate)
    add_json(validate)


def _compare(compare: Parser) -> None:
    add_recipe(compare, width=NARROW)
    add_start(compare)
    compare.add_argument(
        "--samples",
        required=True,
        metavar="FILE",
        help="last layers of your networks, .npy of shape (samples, width, inputs), or CSV with a network a row",
    )
    compare.add_argument(
        "--start",
        metavar="FILE",
        help="where they start, instead of --x0, where a neuron has several states (inputs, positions): CSV or .npy, a neuron a row; where the width "
        "grows, the second moments of the inputs",
    )
    compare.add_argument(
        "--jacobians",
        metavar="FILE",
        help="the derivatives of these states in the start, .npy of shape (samples, n, n), or CSV with a row of n² numbers each: the derived Jacobian "
        "is compared instead",
    )
    compare.add_argument(
        "--depth",
        type=whole("depth", 1),
        metavar="L",
        help="their number of layers, whose bias is then taken off (not counted)",
    )
    add_seed(compare)
    add_json(compare)


def _claims(claims: Parser) -> None:
    add = claims.add_argument
    add("--source", metavar="AUTHOR", help="only what this source claims, such as Hayou (all)")
    add("--claim", metavar="NAME", help="only the claim of this name; --list shows the names (all)")
    add("--quick", action="store_true", help="only what takes a few seconds")
    add("--list", action="store_true", help="show the claims, source by source, without checking them")
    add_json(claims)
    add_seed(claims)


def _report(report: Parser) -> None:
    add_recipe(report, width=Usual(f"{NARROW}, or {WIDE} with --inputs"))
    report.set_defaults(width=Usual(NARROW))
    add_start(report, inputs=True)
    report.add_argument(
        "--text",
        metavar="FILE",
        help="a text instead of --x0 or --inputs: its first characters are the tokens of a transformer-block, or of an architecture with "
        "--positions (8), beside whose limit of infinite width networks of --width (64) and --depth (500) are simulated up to --t (10)",
    )
    add_size(report, depth=None, samples=None)
    add_json(report)
    add_out(report, "FILE.html", "write the page here (report.html)", lambda _: (".html",), "report.html")


def _kernel(kernel: Parser) -> None:
    add_recipe(kernel, width="oo")
    kernel.add_argument("--inputs", metavar="FILE", help="network inputs, one a row, CSV or .npy (random ones)")
    kernel.add_argument(
        "--random",
        type=pair("random"),
        metavar="MxD",
        help="so many random inputs of so many standard normal numbers each (3x4)",
    )
    kernel.add_argument("--of", choices=("nngp", "ntk"), default="nngp", help="which kernel (nngp)")
    add_time(kernel)
    kernel.add_argument(
        "--tolerance", type=finite("tolerance"), default=1e-9, metavar="E", help="relative error of an entry (1e-9)"
    )
    add_seed(kernel)
    add_json(kernel)
    add_out(
        kernel,
        "FILE",
        "write the matrix, .npy, .csv or .json, instead of to standard output",
        lambda _: (".npy", ".csv", ".json"),
    )


def _train(train: Parser) -> None:
    add_recipe(train, width=WIDE)
    train.add_argument(
        "--depth",
        type=depths,
        default=(10, 100),
        metavar="L,…",
        help="numbers of layers, each trained by itself (10,100)",
    )
    train.add_argument(
        "--data",
        metavar="FILE",
        help="CSV or .npy, an input a row with its label, a whole number from 0, in the last column (scikit-learn's digits)",
    )
    train.add_argument("--steps", type=whole("steps", 1), default=200, metavar="N", help="steps of training (200)")
    train.add_argument("--batch", type=whole("batch", 1), default=128, metavar="M", help="inputs in a step (128)")
    train.add_argument(
        "--learning-rate",
        type=finite("learning-rate", above=0.0),
        metavar="R",
        help="in the NTK parametrization (half of the largest at which the first losses fall, derived, or else measured)",
    )
    train.add_argument("--optimizer", default="sgd", metavar="NAME", help="one of optax's, such as adam (sgd)")
    add_time(train, ", where it is free (1)")
    add_random(train)
    train.add_argument("--checkpoint", metavar="DIR", help="keep the state here, and go on from it when run again")
    add_json(train)
    add_out(train, "FILE.csv", "write the columns depth, step and loss", lambda _: (".csv",))


def _dynamics(command: Parser) -> None:
    add_recipe(command, width="oo")
    add = command.add_argument
    add("--data", metavar="FILE", help="CSV or .npy, an input a row with its target in the last column (the equations)")
    add("--depth", type=whole("depth", 1), metavar="L", help="number of layers (4)")
    add("--steps", type=whole("steps", 1), metavar="N", help="steps of gradient descent (100)")
    add("--learning-rate", type=finite("learning-rate"), metavar="R", help="η, which is multiplied by γ₀²n (0.1)")
    add("--momentum", type=finite("momentum"), metavar="B", help="how much of its last change a step repeats (0)")
    add("--richness", type=finite("richness"), metavar="G", help="γ₀: how much features move, 0 for not at all (1)")
    add("--limits", metavar="A,B", help="take outputs to these limits too: depth, flow (neither)")
    add_time(command, ", where it is free (1)")
    add_random(command)
    add("--format", choices=FORMATS[:-1], help="how equations are written (by the suffix of --out, else text)")
    add_json(command)
    add_out(
        command,
        "FILE",
        "write the equations (.tex, .typ, .txt, .json), or with --data losses and outputs (.csv, .json)",
        lambda options: tuple(DOCUMENTS) if options.data is None else _TABLE,
    )


def _scalings(command: Parser) -> None:
    add_recipe(command)
    add_parameters(command)
    command.add_argument("--format", choices=FORMATS[:-1], help="how it is written (by the suffix of --out, else text)")
    add_json(command)
    add_out(command, "FILE", "write to a file (.tex, .typ, .txt or .json)", lambda _: tuple(DOCUMENTS))
    command.add_argument("--figure", metavar="FILE", help="draw the plane of two exponents here, .svg, .pdf or .png")
    command.add_argument(
        "--training",
        nargs="?",
        const="",
        metavar="A,B",
        help="what the first step of training moves, and at which learning rates; of these matrices alone if they are named",
    )


def _jacobian(command: Parser) -> None:
    add_recipe(command)
    add_parameters(command)
    command.add_argument("--format", choices=FORMATS[:-1], help="how it is written (by the suffix of --out, else text)")
    add_json(command)
    add_out(command, "FILE", "write to a file (.tex, .typ, .txt or .json)", lambda _: tuple(DOCUMENTS))
    command.add_argument(
        "--validate",
        action="store_true",
        help="compare it with simulated networks instead, at a --width that is a number; exit status 1 if a check fails",
    )
    add_start(command)
    add_size(command, depth=None, samples=None)


def _choose(command: Parser) -> None:
    add_recipe(command, width=WIDE)
    command.add_argument(
        "--mean-square", type=finite("mean-square"), metavar="V", help="wanted mean square of the output's neurons"
    )
    command.add_argument(
        "--correlation", type=finite("correlation"), metavar="C", help="or wanted correlation of two inputs there"
    )
    command.add_argument(
        "--quantile", type=finite("quantile"), metavar="Q", help="which quantile over networks has it (their mean)"
    )
    command.add_argument("--depth", metavar="L", help="layers, where depth and width go together, or ?")
    command.add_argument("--t", metavar="T", help="the time, where it is free, or ? (1)")
    command.add_argument("--norm0", type=finite("norm0"), default=1.0, metavar="V", help="mean square at the start (1)")
    command.add_argument(
        "--correlation0", type=finite("correlation0"), default=0.0, metavar="C", help="correlation at the start (0)"
    )
    command.add_argument("--bounds", type=bounds, metavar="LOW,HIGH", help="where it is sought (a wide range)")
    command.add_argument(
        "--samples", type=whole("samples", 2), default=20_000, metavar="N", help="paths, where they are drawn (20000)"
    )
    add_seed(command)
    add_json(command)


def _command(commands: _Commands, name: str, does: str) -> Parser:
    """A command that says the same in the list of commands and at the head of its own help, with examples at its end."""
    return commands.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}. In brackets is what an option is if left out.",
        epilog="\n".join(["examples:", *(f"  deeplimits {name} {example}".rstrip() for example in EXAMPLES[name])]),
        formatter_class=Lines,
    )


#: What is shown at the end of a command's help: each line runs as it stands.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "derive": (
        "resnet --activation gelu --width oo --inputs 2",
        "--layer 'x + eps*A(relu(B(rms_norm(x), out=4*n)))' --style theorem -o block.tex",
    ),
    "density": ("--activation relu --x0 1 --t 0.5", "--activation tanh -o density.csv"),
    "output": ("mlp-block --width 8 --quantiles 0.05,0.5,0.95",),
    "simulate": ("--activation 'x*tanh(x)' --width 8 --depth 500 -o states.npy", "--of sde --width 8 --json"),
    "kernel": ("gated-block --norm rms --of ntk --random 3x4", "--activation gelu --inputs inputs.csv -o kernel.npy"),
    "validate": ("--activation tanh --width 1", "mlp-block --norm rms --width 8 --json"),
    "compare": (
        "--activation relu --width 8 --samples mine.npy --depth 500",
        "--activation tanh --width 8 --samples mine.npy --jacobians derivatives.npy --depth 500",
    ),
    "claims": ("--quick", "--source Hayou --json"),
    "train": ("resnet --activation relu --depth 10,100 --checkpoint run",),
    "dynamics": ("--layer 'x + eps*W(tanh(x))'", "resnet --activation relu --data mine.csv --depth 4 --steps 50"),
    "scalings": ("resnet --figure phase.svg", "--layer 'x + eps*A(relu(B(x)))' --training"),
    "jacobian": ("--layer 'x + eps*A(relu(B(x)))' --width n", "resnet --activation tanh --width 2 --validate"),
    "choose": ("--layer 'x + ?*eps*A(relu(B(x)))' --width 8 --mean-square 2 --quantile 0.9",),
    "report": ("--activation relu --width 32 -o relu.html", "transformer-block --text README.md"),
}


#: Every command: what it does, and what adds its options.
_COMMANDS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "derive": ("print a derivation step by step", _derive),
    "density": ("tabulate density and distribution function, closed or solved by Fokker–Planck", _density),
    "output": ("tabulate the law of a random readout of the last layer", _output),
    "simulate": ("simulate random networks, or paths of the derived limit", _simulate),
    "kernel": ("tabulate the NNGP or tangent kernel of network inputs at infinite width", _kernel),
    "validate": ("compare limit, law and simulated networks; exit status 1 if a check fails", _validate),
    "compare": (
        "compare samples of your own networks with the derived limit; exit status 1 if a check fails",
        _compare,
    ),
    "claims": (
        "check published claims and this project's own on simulated networks; exit status 1 if one does not hold",
        _claims,
    ),
    "train": ("train networks at several depths, beside what is derived of their start", _train),
    "dynamics": ("derive how training moves features at infinite width, or solve it for your data", _dynamics),
    "scalings": ("find the exponents of branch, weights, shaping and width that have a limit", _scalings),
    "jacobian": (
        "derive how derivatives and gradients move with depth: equations, determinant, Lyapunov spectrum",
        _jacobian,
    ),
    "choose": (
        "solve for the option that is given as ?, so that the output's mean square or correlation has a wanted value",
        _choose,
    ),
    "report": ("write one self-contained HTML page: derivation, density, networks, checks", _report),
}
