"""The command ``deeplimits``.

Only the standard library is loaded before a command is known: help and complaints come at once.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import derivations
from numerics.cli.arguments import parser
from numerics.cli.asked import parameters_of, sought_option
from numerics.cli.destination import check_outputs
from numerics.cli.table import require_known_words, require_taken
from numerics.extras import how_to_install

#: Options that are files, and of what.
_FILES = {
    "inputs": "network inputs, CSV or .npy",
    "samples": "samples of networks, CSV or .npy",
    "data": "network inputs, CSV or .npy",
    "text": "a text",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments, by default those of the process.

    Returns
    -------
    int
        0 if all is well, 1 if a check failed or samples are not finite, 2 for an error, in one line on stderr, 130 if interrupted.
    """
    if argv is None:  # the process is ours; SymPy makes millions of objects with hardly a cycle among them
        gc.set_threshold(200_000, 20, 20)
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = None
    try:
        options = parser().parse_args(arguments)
        _require_readable(options)
        from numerics.cli import commands

        options.command_line = ["deeplimits", *arguments]
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = _warn
            code = commands.COMMANDS[options.command](options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(f"deeplimits: interrupted; {_again(options, arguments)}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        return _complain(f"this needs the package {error.name}; install it with: {how_to_install(error.name or '')}")
    except OSError as error:
        return _complain(
            f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error.strerror or str(error)
        )
    except (ValueError, MemoryError) as error:
        return _complain(_as_typed(str(error) or type(error).__name__, options))
    except Exception as error:  # a mistake of ours is one line too
        return _complain(f"unexpected {type(error).__name__}: {error}; please report it with this command line")


def _require_readable(options: argparse.Namespace) -> None:
    """What can be refused before a command is loaded: options that a recipe does not take, formulas, files."""
    layer, activation = getattr(options, "layer", None), getattr(options, "activation", None)
    if hasattr(options, "layer") and layer is None and getattr(options, "text", None) is None:
        require_taken(options.architecture or "resnet", vars(options))
    if activation is not None:
        require_known_words(activation)
    for text, read in ((activation, "parse_activation"), (layer, "parse_layer")):
        if text is not None and "?" not in text and not text.isalnum():
            declared = [parameters_of(options)] if text is layer else []
            getattr(derivations, read)(text, *declared)
    check_outputs(options)
    if options.command == "choose":
        sought_option(options)
    if getattr(options, "checkpoint", None) is not None:
        from numerics.ensembles.checkpoint import require_directory

        require_directory(options.checkpoint)
    twice = any(getattr(options, name, None) is not None for name in ("x0", "random"))  # beside inputs: refused later
    for name, what in _FILES.items():
        given = getattr(options, name, None)
        if isinstance(given, str) and (name == "samples" or not twice):
            from numerics.cli.files import existing

            existing(given, what)


def _again(options: argparse.Namespace | None, arguments: list[str]) -> str:
    """How to go on after an interruption."""
    command = shlex.join(["deeplimits", *arguments])
    if options is None or not hasattr(options, "checkpoint"):
        return f"nothing was written; start again with: {command}"
    if options.checkpoint is None:
        return f"nothing was kept; with --checkpoint it can go on from where it stopped: {command} --checkpoint DIR"
    return f"what is finished is kept in {options.checkpoint}; go on with: {command}"


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"deeplimits: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _as_typed(message: str, options: Any) -> str:
    """A message about arguments of functions, with the names of options in their place; ``out=`` in a typed layer is the matrix's."""
    given = vars(options) if options is not None else {}
    for field in (name for name in given if name != "out" or given.get("layer") is None):
        message = re.sub(rf"(?<![-\w]){field}=(?=[\w.+-])", f"--{field.replace('_', '-')} ", message)
        message = re.sub(rf"(?<![-\w]){field}=(?![(\['\"])", f"--{field.replace('_', '-')}", message)
    return message


def _complain(message: str) -> int:
    print(f"deeplimits: error: {' '.join(message.split())}", file=sys.stderr)
    return 2
