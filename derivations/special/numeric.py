"""How SymPy's own ``lambdify`` and ``series`` see the nodes: hooks that its printers and expansions look for."""

from __future__ import annotations

from typing import Any, ClassVar

import sympy as sp

from derivations.binding import leading_term


class Numeric(sp.Function):
    """A function whose values are in two libraries of this project, by name: printed code imports it where it runs.

    SymPy's printers for NumPy, SciPy, plain Python and mpmath ask a node for ``_numpycode``, ``_pythoncode`` and ``_mpmathcode``;
    nothing numeric is loaded by naming it.
    """

    #: The function of arrays in ``numerics.special``, and that of mpmath's numbers in ``derivations.special``.
    array_name: ClassVar[str]
    exact_name: ClassVar[str]

    def _numpycode(self, printer: Any, **settings: Any) -> str:
        return self._call(printer, f"numerics.special.{self.array_name}")

    _pythoncode = _numpycode

    def _mpmathcode(self, printer: Any, **settings: Any) -> str:
        return self._call(printer, f"derivations.special.{self.exact_name}")

    def _call(self, printer: Any, function: str) -> str:
        return f"{printer._module_format(function)}({', '.join(map(printer._print, self.args))})"

    def _eval_as_leading_term(self, x: sp.Symbol, logx: sp.Expr | None = None, cdir: int = 0) -> sp.Expr:
        return leading_term(self, x)
