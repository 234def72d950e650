"""What can be typed: the commands and their options."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NoReturn

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
    "c-plus": "the slope on x > 0 is 1 + C/sqrt(n); exact, such as 1/2",
    "c-minus": "the slope on x < 0 is 1 + C/sqrt(n); write --c-minus=-1/2 for a negative one",
    "a": "the activation is s φ(x/s) with s = C sqrt(n)",
    "skip": "share of the state that skips the layer, at least 0 and below 1 (0)",
}
FORMATS = ("text", "latex", "json", "html")


class _Parser(argparse.ArgumentParser):
    """Complaints in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"deeplimits: error: {' '.join(message.split())} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    top = _Parser(prog="deeplimits", description=DESCRIPTION)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    derive = commands.add_parser("derive", help="print a derivation step by step")
    _recipe(derive)
    derive.add_argument(
        "--inputs", type=_whole("inputs", 1), default=1, metavar="M", help="network inputs followed jointly (1)"
    )
    derive.add_argument(
        "--order",
        choices=("depth", "width", "joint"),
        help="what goes to infinity first, or both together (joint for mlp, shaped and prenorm, else depth)",
    )
    for option, what in _SHAPING.items():
        derive.add_argument(f"--{option}", metavar="C", help=f"for shaped: {what}")
    derive.add_argument("--format", choices=FORMATS, help="by default that of --out's suffix, or text")
    derive.add_argument(
        "--out", metavar="FILE", help="write to a file (.tex is a document for pdflatex) instead of standard output"
    )

    density = commands.add_parser(
        "density", help="tabulate density and distribution function, closed or solved by Fokker–Planck"
    )
    _recipe(density, width="1")
    _start(density)
    density.add_argument("--points", type=_whole("points", 2), default=201, help="rows of the table (201)")
    density.add_argument("--out", metavar="FILE.csv", help="write here instead of to standard output")

    simulate = commands.add_parser("simulate", help="simulate random networks, or paths of the derived limit")
    _recipe(simulate, width="1")
    _start(simulate)
    _size(simulate, depth=1000, samples=10_000)
    simulate.add_argument("--inputs", metavar="FILE", help="network inputs, one a row, CSV or .npy, instead of --x0")
    simulate.add_argument(
        "--of",
        choices=("network", "sde"),
        default="network",
        help="networks or the derived diffusion, in DEPTH steps (network)",
    )
    simulate.add_argument(
        "--method",
        choices=("in_law", "weights"),
        default="in_law",
        help="by conditional Gaussians, or every weight (in_law)",
    )
    simulate.add_argument(
        "--dask",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="run on the Dask cluster at this address, or on one of processes started here; the result is the same",
    )
    simulate.add_argument(
        "--checkpoint", metavar="DIR", help="keep what is finished here, and go on from it when run again"
    )
    simulate.add_argument("--out", metavar="FILE", help="last states, .npy (samples, width, inputs) or .csv")

    validate = commands.add_parser(
        "validate", help="compare limit, law and simulated networks; exit status 1 if a check fails"
    )
    _recipe(validate, width="1")
    _start(validate)
    _size(validate, depth=None, samples=None)

    report = commands.add_parser(
        "report", help="write one self-contained HTML page: derivation, density, networks, checks"
    )
    _recipe(report, width="1")
    _start(report)
    _size(report, depth=1000, samples=None)
    report.add_argument("--inputs", metavar="FILE", help="network inputs, one a row, CSV or .npy, instead of --x0")
    report.add_argument("--out", metavar="FILE.html", default="report.html", help="the page (report.html)")
    return top


def _recipe(command: argparse.ArgumentParser, width: str = "n") -> None:
    command.add_argument(
        "architecture", nargs="?", choices=ARCHITECTURES, default="resnet", help="the recursion (resnet)"
    )
    command.add_argument(
        "--activation", default="relu", metavar="NAME|FORMULA", help="such as gelu, or 'x*tanh(x)' (relu)"
    )
    command.add_argument(
        "--outer",
        default="tanh",
        metavar="NAME|FORMULA",
        help="activation outside the weights, for shrinking and conv, whose --activation stands inside (tanh)",
    )
    command.add_argument(
        "--width",
        default=width,
        metavar="N",
        help=f"number of neurons: a whole number, n for a symbol, or oo ({width})",
    )
    command.add_argument(
        "--weight-variance", default="1", metavar="V", help="variance of a weight times the width, exact (1)"
    )
    command.add_argument(
        "--bias-variance", default="0", metavar="V", help="variance of a bias, for shrinking and conv, exact (0)"
    )
    command.add_argument("--positions", type=_sizes("positions"), metavar="P|PxQ", help="the grid's sizes, for conv")
    command.add_argument(
        "--filter",
        type=_sizes("filter"),
        metavar="F|FxG",
        help="the filter's odd sizes, for conv (1 in each dimension)",
    )
    command.add_argument(
        "--zero-padding", action="store_true", help="a filter reads 0 over a border, for conv (it reads the other end)"
    )


def _start(command: argparse.ArgumentParser) -> None:
    command.add_argument("--x0", type=_finite("x0"), help="where every neuron starts (1)")
    command.add_argument(
        "--t", type=_finite("t"), default=1.0, help="the limit's time that all layers take together (1)"
    )


def _size(command: argparse.ArgumentParser, depth: int | None, samples: int | None) -> None:
    command.add_argument(
        "--depth", type=_whole("depth", 1), default=depth, help=f"number of layers ({depth or 'chosen by each check'})"
    )
    command.add_argument(
        "--samples",
        type=_whole("samples", 2),
        default=samples,
        help=f"number of networks ({samples or 'by what is compared'})",
    )
    command.add_argument(
        "--seed", type=_whole("seed", 0), default=0, help="the result depends on it and on nothing else random (0)"
    )
    command.add_argument(
        "--workers", type=_whole("workers", 1), default=1, help="threads; the result does not depend on it (1)"
    )


def _whole(name: str, least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text) if len(text) <= 18 else None
        except ValueError:
            value = None
        if value is None or value < least:
            raise argparse.ArgumentTypeError(
                f"{name} must be a whole number of at most 18 digits, at least {least}, got {text[:40]!r}"
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
