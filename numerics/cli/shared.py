"""Options that several commands have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from numerics.cli.table import typed, words
from numerics.cli.values import finite, letters, whole
from numerics.cli.values import width as neurons


def add_inputs_followed(command: argparse.ArgumentParser) -> None:
    """How many inputs are followed jointly."""
    command.add_argument(
        "--inputs", type=whole("inputs", 1, 1000), default=1, metavar="M", help="network inputs followed jointly (1)"
    )


def add_quick(command: argparse.ArgumentParser) -> None:
    """Controls that fewer samples see."""
    command.add_argument(
        "--quick", action="store_true", help="controls 15 %% off instead of 5 %%, seen with a ninth of the samples"
    )


def add_force(command: argparse.ArgumentParser) -> None:
    """Whether a file that exists may be replaced."""
    command.add_argument("--force", action="store_true", help="replace what --out names if it exists (refused)")


def add_out(
    command: argparse.ArgumentParser,
    metavar: str,
    what: str,
    suffixes: Callable[[argparse.Namespace], tuple[str, ...]],
    default: str | None = None,
) -> None:
    """Where the result goes, how its name may end, and whether a file that exists may be replaced."""
    command.add_argument("-o", "--out", metavar=metavar, default=default, help=what)
    command.set_defaults(suffixes=suffixes)
    add_force(command)


def add_json(command: argparse._ActionsContainer) -> None:
    """The result for programs."""
    command.add_argument("--json", action="store_true", help="print JSON instead of text, numbers in all digits")


def add_recipe(command: argparse.ArgumentParser, width: str = "n") -> None:
    """The network: a named architecture or a layer, its activation, width and order."""
    recipes = words()
    command.add_argument(
        "architecture",
        nargs="?",
        choices=recipes,
        metavar="ARCHITECTURE",
        help=f"the network's recursion: {', '.join(recipes)} (resnet)",
    )
    command.add_argument(
        "--activation", metavar="NAME|FORMULA", help="activation inside the weights, such as gelu or 'x*tanh(x)' (relu)"
    )
    command.add_argument(
        "--layer",
        metavar="FORMULA",
        help="instead of an architecture, a layer as a formula: capitals are matrices with the options of Weights, eps is L^(-1/2), such as "
        "'x + eps*A(relu(B(rms_norm(x), out=4*n)))' or, over --positions 8, 'x + eps*W(relu(x), filter=3, padding=zeros)'",
    )
    command.add_argument(
        "--order",
        choices=("depth", "width", "joint"),
        help="what goes to infinity first, or both together (joint where the recipe says so, else depth)",
    )
    command.add_argument(
        "--width",
        type=neurons,
        default=width,
        metavar="N",
        help=f"number of neurons: a whole number, n for a symbol, or oo ({width})",
    )
    for option in typed():
        if option.metavar is None:
            command.add_argument(option.name, dest=option.field, action="store_const", const=True, help=option.help)
        else:
            command.add_argument(option.name, dest=option.field, metavar=option.metavar, help=option.help)


def add_parameters(command: argparse.ArgumentParser) -> None:
    """Letters of a layer as a formula, of commands that print formulas."""
    command.add_argument(
        "--parameter",
        type=letters,
        metavar="A,B",
        help="letters of --layer that stand for positive numbers and stay in what is derived, such as g in 'x + g*eps*A(relu(x))'",
    )


def add_start(command: argparse.ArgumentParser, inputs: bool = False) -> None:
    """Where networks start, and how long they run."""
    command.add_argument("--x0", type=finite("x0"), metavar="X", help="where every neuron starts (1)")
    if inputs:
        command.add_argument("--inputs", metavar="FILE", help="network inputs, one a row, CSV or .npy, instead of --x0")
    add_time(command, " (1; for mlp, shaped and prenorm depth over width, and not free)")


def add_time(command: argparse.ArgumentParser, when: str = " (1)") -> None:
    """The limit's time."""
    command.add_argument(
        "--t", type=finite("t"), metavar="T", help=f"the limit's time that all layers take together{when}"
    )


def add_size(command: argparse.ArgumentParser, depth: int | None, samples: int | None) -> None:
    """Depth and number of samples."""
    command.add_argument(
        "--depth",
        type=whole("depth", 1),
        default=depth,
        metavar="L",
        help=f"number of layers ({depth or 'chosen by each check'})",
    )
    command.add_argument(
        "--samples",
        type=whole("samples", 2),
        default=samples,
        metavar="N",
        help=f"number of networks or paths ({samples or 'chosen by what is compared'})",
    )
    add_seed(command)


def add_seed(command: argparse.ArgumentParser) -> None:
    """The seed, and threads."""
    add_random(command)
    command.add_argument(
        "--workers",
        type=whole("workers", 1),
        default=1,
        metavar="W",
        help="number of threads; the result does not depend on it (1)",
    )


def add_random(command: argparse.ArgumentParser) -> None:
    """The seed."""
    command.add_argument(
        "--seed",
        type=whole("seed", 0),
        default=0,
        metavar="S",
        help="a whole number; all that is random comes from it (0)",
    )
