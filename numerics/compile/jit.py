"""Expressions as the source of kernels, and kernels as machine code that is kept on disk between runs."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import sympy as sp
from sympy.printing.codeprinter import PrintMethodNotImplementedError

from derivations.errors import unknown
from numerics.backends import find_backend
from numerics.backends.centred import centred
from numerics.backends.numba import NUMBA, OPTIONS, is_available
from numerics.backends.numba import names as machine_names

Kernel = Callable[..., Any]

#: Normals, or means over pairs, that are worth a kernel's compilation: fewer take arrays a third of a second.
WORTH_COMPILING = 1 << 25
_LONGEST_TUPLE = 24


def printed_function(name: str, arguments: Sequence[sp.Symbol], expressions: Sequence[sp.Expr]) -> str:
    """The source of a function of numbers that returns a tuple, common subexpressions computed once.

    Raises
    ------
    ValueError
        If a part has no machine-code form.

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> print(printed_function("f", (x, y), [sp.sqrt(x) * y, sp.sqrt(x)]))
    def f(a0, a1):
        x0 = sqrt(a0)
        return (a1*x0, x0,)
    """
    plain = {argument: sp.Symbol(f"a{k}", real=True) for k, argument in enumerate(arguments)}
    formulas, apart = centred([expression.xreplace(plain) for expression in expressions], NUMBA.rewrite)
    written = [NUMBA.rewrite(formula).xreplace(apart) for formula in formulas]
    shared, results = sp.cse(written, symbols=sp.numbered_symbols("x", real=True), order="none")
    printer = NUMBA.printer()
    try:
        lines = [f"{left} = {printer.doprint(right)}" for left, right in shared]
        values = [printer.doprint(result) for result in results]
    except (PrintMethodNotImplementedError, KeyError) as error:
        raise ValueError(f"no machine code for {str(list(expressions))[:200]}: {str(error).splitlines()[0]}") from error
    head = f"def {name}({', '.join(str(symbol) for symbol in plain.values())}):"
    # CPython builds a tuple of more than 30 entries by way of a list, which Numba does not compile
    chunks = [values[k : k + _LONGEST_TUPLE] for k in range(0, len(values), _LONGEST_TUPLE)] or [[]]
    tuples = ("(" + "".join(f"{value}, " for value in chunk).rstrip() + ")" for chunk in chunks)
    return "\n    ".join([head, *lines, f"return {' + '.join(tuples)}"])


@cache
def compiled_kernel(source: str, name: str = "kernel") -> Kernel:
    """Compile the functions of a source to machine code and return one of them.

    Numba keeps what it compiles beside the source, which is written to a directory of this user under a name made
    from its content: a kernel is compiled once on a machine. Where nothing can be written it is compiled once a process.

    Parameters
    ----------
    source : str
        Functions that use each other, names of ``math``, ``np`` and the twins of special functions.
    name : str
        The one to return.
    """
    import numba
    import numpy as np

    text = f"# deeplimits, Numba {numba.__version__}, twins {_twins()}\n{source}\n"
    label = f"deeplimits_kernel_{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    path = _kept(label, text)
    # what Numba has kept finds its names again through the module they stood in
    module = sys.modules.setdefault(label, ModuleType(label))
    vars(module).update(machine_names(), np=np)
    exec(compile(text, str(path or f"<{label}>"), "exec"), vars(module))
    functions = [line.split("(")[0].removeprefix("def ") for line in source.splitlines() if line.startswith("def ")]
    for function in functions:  # in order: each finds those above it compiled
        setattr(module, function, numba.njit(cache=path is not None, **OPTIONS)(getattr(module, function)))
    kernel: Kernel = getattr(module, name)
    return kernel


def warmed(kernel: Kernel, *arguments: Any) -> Kernel:
    """The kernel, compiled for arguments like these, on which it must do nothing.

    Raises
    ------
    ValueError
        If Numba cannot compile it, with the first line of its reasons.
    """
    from numba.core.errors import NumbaError

    try:
        kernel(*arguments)
    except NumbaError as error:
        reason = next(line for line in f"{error}\n".splitlines() if not line.startswith("Failed in"))
        raise ValueError(f"Numba cannot compile this kernel: {reason}") from error
    return kernel


def uses_jit(backend: str, work: int, fuse: Callable[[], Any]) -> bool:
    """Whether an ensemble or a flow runs as machine code, decided by what is asked for alone, never by who computes it.

    Parameters
    ----------
    backend : {"auto", "numpy", "numba"}
    work : int
        Normals to be drawn, or Gaussian means over pairs to be evaluated.
    fuse : callable
        Makes the kernel, or raises ``ValueError`` where there is none.

    Raises
    ------
    ValueError
        If ``"numba"`` is asked for and missing, or has no kernel for this.
    """
    if backend not in ("auto", "numpy", "numba"):
        raise ValueError(unknown("backend", backend, ("auto", "numpy", "numba")))
    if backend == "numba":
        find_backend("numba")  # refuses where Numba is missing
        fuse()  # refuses where there is no kernel
        return True
    if backend == "numpy" or work < WORTH_COMPILING or not is_available():
        return False
    try:
        fuse()
    except ValueError:
        return False
    return True


@cache
def _twins() -> str:
    """The version of the twins: kernels have them built in."""
    from numerics.special import scalar

    return hashlib.sha256(Path(scalar.__file__).read_bytes()).hexdigest()[:16]


def _kept(label: str, text: str) -> Path | None:
    """The file that holds a source, written whole or not at all; None where there is no room for one."""
    root = os.environ.get("DEEPLIMITS_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    with suppress(OSError, RuntimeError):
        folder = Path(root).expanduser() / "deeplimits"
        path = folder / f"{label}.py"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return path
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as draft:
            draft.write(text)
        os.replace(draft.name, path)
        return path
    return None
