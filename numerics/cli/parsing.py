"""How the command line is read: complaints in one line, cause first; options are made when they are first needed."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from derivations.errors import unknown

#: What argparse says, and how it is said here: the option first where it is the cause.
_SAID = (
    (r"^argument ([^:]+): expected one argument", r"\1 needs a value"),
    (r"^argument ([^:]+): not allowed with argument (.+)$", r"\1 and \2 are given both; leave one of them out"),
    (r"^argument ([^:]+): ignored explicit argument (.+)$", r"\1 takes no value, got \2"),
    (r"^argument [^:]+: ", ""),
)


class Parser(argparse.ArgumentParser):
    """Complaints in one line, cause first; no abbreviations, in which ``--a`` would mean ``--activation``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **(options | {"allow_abbrev": False}))
        self.build: Callable[[Parser], None] | None = None
        self._negative_number_matcher = re.compile(r"-[\d.]")  # -1e5 and -1/2 are values too, not only -1

    def built(self) -> Parser:
        """With its options, which are added when they are first needed: those of recipes are in a table."""
        build, self.build = self.build, None
        if build is not None:
            build(self)
        return self

    def parse_known_args(self, args: Any = None, namespace: Any = None, **options: Any) -> Any:
        """As always, with all options."""
        self.built()
        return super().parse_known_args(args, namespace, **options)

    def format_help(self) -> str:
        """As always, with all options."""
        self.built()
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Stop with the cause, in one line."""
        message = " ".join(message.split())
        for said, meant in _SAID:
            message = re.sub(said, meant, message)
        self.exit(2, f"deeplimits: error: {message} (see {self.prog} --help)\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As always, but that an unknown option is named with those that are close."""
        given = list(sys.argv[1:] if args is None else args)
        (commands,) = (a.choices for a in self._actions if isinstance(a, argparse._SubParsersAction))
        command = next((word for word in given if not word.startswith("-")), None)
        if command is not None and command in commands:
            known = commands[command].built()._option_string_actions
            words = (word.split("=")[0] for word in given if word.startswith("--"))
            if wrong := next((word for word in words if word not in known), None):
                if wrong in ("--recipe", "--architecture", "--model", "--network"):
                    commands[command].error(
                        f"the architecture is a word without {wrong}, such as deeplimits {command} resnet"
                    )
                commands[command].error(unknown(f"option of {command}", wrong, (k for k in known if k != "-h")))
        options, extra = self.parse_known_args(given, namespace)
        if extra and command:
            commands[command].error(f"{extra[0][:60]!r} is one argument too many")
        return options

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = action.dest if action.option_strings == [] else action.option_strings[0]
            raise argparse.ArgumentError(None, unknown(name, value, action.choices))


class Lines(argparse.HelpFormatter):
    """Help with its last part as it stands, line by line."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("examples:") else super()._fill_text(text, width, indent)


class Completion(argparse.Action):
    """Prints a completion script, made by shtab from the options as they are."""

    SHELLS = ("bash", "zsh", "tcsh")

    def __call__(self, parser: argparse.ArgumentParser, _: Any, shell: Any, *__: Any) -> NoReturn:
        """Print it and stop."""
        try:
            import shtab
        except ModuleNotFoundError:
            parser.exit(
                2,
                'deeplimits: error: completion needs the package shtab; install it with: pip install "deeplimits[report]"\n',
            )
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for command in action.choices.values():
                    command.built()
        print(shtab.complete(parser, shell=shell))
        parser.exit()


class Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Print it and stop."""
        from importlib.metadata import version

        print(f"deeplimits {version('deeplimits')}")
        parser.exit()
