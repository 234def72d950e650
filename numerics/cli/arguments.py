"""What can be typed: the commands and their options."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from derivations.errors import unknown

#: Names of architectures as typed, and the classes of :mod:`derivations` that they stand for.
ARCHITECTURES = {
    "resnet": "ResNet",
    "shrinking": "ShrinkingResNet",
    "conv": "ConvResNet",
    "mlp": "MLP",
    "shaped": "ShapedMLP",
    "prenorm": "PreNormResNet",
}
DESCRIPTION = "Scaling limits of random neural networks, derived symbolically and checked by simulation."
#: How an activation is shaped, by name.
_SHAPING = {
    "c-plus": "the slope of a two-slope activation on x > 0 is 1 + C/sqrt(n); exact, such as 1/2",
    "c-minus": "its slope on x < 0 is 1 + C/sqrt(n); write --c-minus=-1/2 for a negative C",
    "a": "a smooth activation φ is used as s φ(x/s) with s = C sqrt(n)",
    "skip": "share C of the state that skips the layer, at least 0 and below 1 (0)",
}
FORMATS = ("text", "latex", "typst", "json", "html")

_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


class _Parser(argparse.ArgumentParser):
    """Complaints in one line, cause first; no abbreviations, in which ``--a`` would mean ``--activation``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **(options | {"allow_abbrev": False}))
        self._negative_number_matcher = re.compile(r"-[\d.]")  # -1e5 and -1/2 are values too, not only -1

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^argument [^:]+: ", "", " ".join(message.split()))
        self.exit(2, f"deeplimits: error: {message} (see {self.prog} --help)\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As always, but that an unknown option is named with those that are close."""
        given = list(sys.argv[1:] if args is None else args)
        (commands,) = (a.choices for a in self._actions if isinstance(a, argparse._SubParsersAction))
        command = next((word for word in given if not word.startswith("-")), None)
        if command is not None and command in commands:
            known = commands[command]._option_string_actions
            words = (word.split("=")[0] for word in given if word.startswith("--"))
            if wrong := next((word for word in words if word not in known), None):
                commands[command].error(unknown(f"option of {command}", wrong, (k for k in known if k != "-h")))
        options, extra = self.parse_known_args(given, namespace)
        if extra and command:
            commands[command].error(f"{extra[0][:60]!a} is one argument too many")
        return options

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = action.dest if action.option_strings == [] else action.option_strings[0]
            raise argparse.ArgumentError(None, unknown(name, value, action.choices))


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"deeplimits {version('deeplimits')}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    top = _Parser(prog="deeplimits", description=DESCRIPTION)
    top.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    derive = _command(commands, "derive", "print a derivation step by step")
    _recipe(derive)
    _inputs_followed(derive)
    derive.add_argument("--format", choices=FORMATS, help="how it is written (by the suffix of --out, else text)")
    derive.add_argument(
        "--out",
        metavar="FILE",
        help="write to a file (.tex and .typ are documents for pdflatex and Typst) instead of standard output",
    )

    _force(derive)

    density = _command(
        commands, "density", "tabulate density and distribution function, closed or solved by Fokker–Planck"
    )
    _recipe(density, width="1")
    _start(density)
    density.add_argument(
        "--points",
        type=_whole("points", 2, 10_000_000),
        default=201,
        metavar="N",
        help="rows of the table, evenly from the 0.1 %% to the 99.9 %% quantile (201)",
    )
    density.add_argument(
        "--out", metavar="FILE.csv", help="write the columns x, pdf and cdf here instead of to standard output"
    )
    _force(density)

    simulate = _command(commands, "simulate", "simulate random networks, or paths of the derived limit")
    _recipe(simulate, width="1")
    _start(simulate, inputs=True)
    _size(simulate, depth=1000, samples=10_000)
    simulate.add_argument(
        "--of",
        choices=("network", "sde"),
        default="network",
        help="networks, or the derived diffusion in as many steps as --depth says (network)",
    )
    simulate.add_argument(
        "--method",
        choices=("in_law", "weights"),
        default="in_law",
        help="draw each network layer given the last one by its law, or draw every weight (in_law)",
    )
    simulate.add_argument(
        "--dask",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="run on the Dask cluster at this address, or without one on processes started here; the result is the same",
    )
    simulate.add_argument(
        "--checkpoint", metavar="DIR", help="keep what is finished here, and go on from it when run again"
    )
    simulate.add_argument(
        "--out", metavar="FILE", help="write the last states, .npy of shape (samples, width, inputs) or .csv"
    )
    _force(simulate)

    validate = _command(
        commands, "validate", "compare limit, law and simulated networks; exit status 1 if a check fails"
    )
    _recipe(validate, width="1")
    _inputs_followed(validate)
    _start(validate)
    _size(validate, depth=None, samples=None)

    compare = _command(
        commands,
        "compare",
        "compare samples of your own networks with the derived limit; exit status 1 if a check fails",
    )
    _recipe(compare, width="1")
    _start(compare)
    compare.add_argument(
        "--samples",
        required=True,
        metavar="FILE",
        help="last layers of your networks, .npy of shape (samples, width, inputs), or CSV with a network a row",
    )
    compare.add_argument(
        "--depth",
        type=_whole("depth", 1),
        metavar="L",
        help="their number of layers, whose bias is then taken off (not counted)",
    )
    _seed(compare)

    _scalings(
        _command(commands, "scalings", "find the exponents of branch, weights, shaping and width that have a limit")
    )
    _choose(
        _command(
            commands,
            "choose",
            "solve for the option that is given as ?, so that the output's norm or correlation has a wanted value",
        )
    )

    report = _command(commands, "report", "write one self-contained HTML page: derivation, density, networks, checks")
    _recipe(report, width="1")
    _start(report, inputs=True)
    _size(report, depth=1000, samples=None)
    report.add_argument("--out", metavar="FILE.html", default="report.html", help="write the page here (report.html)")
    _force(report)
    return top


def _scalings(command: argparse.ArgumentParser) -> None:
    _recipe(command)
    command.add_argument("--format", choices=FORMATS[:-1], help="how it is written (by the suffix of --out, else text)")
    command.add_argument("--out", metavar="FILE", help="write to a file (.tex, .typ, .txt or .json)")
    command.add_argument("--figure", metavar="FILE.svg", help="draw the plane of two exponents here")
    _force(command)


def _choose(command: argparse.ArgumentParser) -> None:
    _recipe(command, width="100")
    command.add_argument("--norm", type=_finite("norm"), metavar="V", help="wanted mean square of the output's neurons")
    command.add_argument(
        "--correlation", type=_finite("correlation"), metavar="C", help="or wanted correlation of two inputs there"
    )
    command.add_argument(
        "--quantile", type=_finite("quantile"), metavar="Q", help="which quantile over networks has it (their mean)"
    )
    command.add_argument("--depth", metavar="L", help="layers, where depth and width go together, or ?")
    command.add_argument("--t", metavar="T", help="the time, where it is free, or ? (1)")
    command.add_argument(
        "--norm0", type=_finite("norm0"), default=1.0, metavar="V", help="mean square at the start (1)"
    )
    command.add_argument(
        "--correlation0", type=_finite("correlation0"), default=0.0, metavar="C", help="correlation at the start (0)"
    )
    command.add_argument("--bounds", type=_bounds, metavar="LOW,HIGH", help="where it is sought (a wide range)")
    command.add_argument(
        "--samples", type=_whole("samples", 2), default=20_000, metavar="N", help="paths, where they are drawn (20000)"
    )
    _seed(command)


def _bounds(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"bounds must be two numbers such as 0.1,10, got {text[:40]!r}") from error
    return low, high


def _inputs_followed(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--inputs", type=_whole("inputs", 1), default=1, metavar="M", help="network inputs followed jointly (1)"
    )


def _force(command: argparse.ArgumentParser) -> None:
    command.add_argument("--force", action="store_true", help="replace what --out names if it exists (refused)")


def _command(commands: _Commands, name: str, does: str) -> argparse.ArgumentParser:
    """A command that says the same in the list of commands and at the head of its own help."""
    return commands.add_parser(
        name, help=does, description=f"{does[0].upper()}{does[1:]}. In brackets is what an option is if left out."
    )


def _recipe(command: argparse.ArgumentParser, width: str = "n") -> None:
    command.add_argument(
        "architecture",
        nargs="?",
        choices=ARCHITECTURES,
        metavar="ARCHITECTURE",
        help=f"the network's recursion: {', '.join(ARCHITECTURES)} (resnet)",
    )
    command.add_argument("--activation", metavar="NAME|FORMULA", help="activation, such as gelu or 'x*tanh(x)' (relu)")
    command.add_argument(
        "--layer",
        metavar="FORMULA",
        help="instead of an architecture, a layer as a formula: capitals are matrices, eps is L^(-1/2), such as "
        "'x + eps*A(relu(B(rms_norm(x), out=4*n)))'",
    )
    for option, what in _SHAPING.items():
        command.add_argument(f"--{option}", metavar="C", help=f"for shaped: {what}")
    command.add_argument(
        "--order",
        choices=("depth", "width", "joint"),
        help="what goes to infinity first, or both together (joint for mlp, shaped and prenorm, else depth)",
    )
    command.add_argument(
        "--outer",
        default="tanh",
        metavar="NAME|FORMULA",
        help="for shrinking and conv: activation outside the weights, where --activation stands inside (tanh)",
    )
    command.add_argument(
        "--width",
        default=width,
        metavar="N",
        help=f"number of neurons: a whole number, n for a symbol, or oo ({width})",
    )
    command.add_argument(
        "--weight-variance",
        default="1",
        metavar="V",
        help="variance of a weight times the number of a neuron's weights, exact (1); mlp and shaped have their own",
    )
    command.add_argument(
        "--bias-variance", default="0", metavar="V", help="for shrinking and conv: variance of a bias, exact (0)"
    )
    command.add_argument(
        "--positions", type=_sizes("positions"), metavar="P|PxQ", help="for conv, needed: the grid's sizes"
    )
    command.add_argument(
        "--filter",
        type=_sizes("filter"),
        metavar="F|FxG",
        help="for conv: the filter's odd sizes (1 in each dimension)",
    )
    command.add_argument(
        "--zero-padding", action="store_true", help="for conv: beyond a border a filter reads 0 (the opposite end)"
    )


def _start(command: argparse.ArgumentParser, inputs: bool = False) -> None:
    command.add_argument("--x0", type=_finite("x0"), metavar="X", help="where every neuron starts (1)")
    if inputs:
        command.add_argument("--inputs", metavar="FILE", help="network inputs, one a row, CSV or .npy, instead of --x0")
    command.add_argument(
        "--t",
        type=_finite("t"),
        metavar="T",
        help="the limit's time that all layers take together (1; for mlp, shaped and prenorm depth over width, and not free)",
    )


def _size(command: argparse.ArgumentParser, depth: int | None, samples: int | None) -> None:
    command.add_argument(
        "--depth",
        type=_whole("depth", 1),
        default=depth,
        metavar="L",
        help=f"number of layers ({depth or 'chosen by each check'})",
    )
    command.add_argument(
        "--samples",
        type=_whole("samples", 2),
        default=samples,
        metavar="N",
        help=f"number of networks or paths ({samples or 'chosen by what is compared'})",
    )
    _seed(command)


def _seed(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--seed",
        type=_whole("seed", 0),
        default=0,
        metavar="S",
        help="a whole number; all that is random comes from it (0)",
    )
    command.add_argument(
        "--workers",
        type=_whole("workers", 1),
        default=1,
        metavar="W",
        help="number of threads; the result does not depend on it (1)",
    )


def _whole(name: str, least: int, most: int = 10**18 - 1) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text) if len(text) <= 18 else None
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            limit = "of at most 18 digits" if most >= 10**18 - 1 else f"of at most {most}"
            raise argparse.ArgumentTypeError(
                f"{name} must be a whole number {limit}, at least {least}, got {text[:40]!r}"
            )
        return value

    return read


def _sizes(name: str) -> Callable[[str], tuple[int, ...]]:
    def read(text: str) -> tuple[int, ...]:
        parts = text.split("x")
        if not 1 <= len(parts) <= 2 or not all(
            p.isascii() and p.isdigit() and len(p) <= 3 and int(p) > 0 for p in parts
        ):
            raise argparse.ArgumentTypeError(
                f"{name} must be one or two whole numbers from 1 to 999, such as 8 or 8x8, got {text[:40]!r}"
            )
        return tuple(map(int, parts))

    return read


def _finite(name: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{name} must be a finite number, got {text[:40]!r}")
        return value

    return read
