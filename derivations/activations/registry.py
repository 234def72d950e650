"""Every activation with a name, listed: adding one is a line in the list of its file."""

from __future__ import annotations

from types import MappingProxyType

from derivations.activations.piecewise_linear import PIECEWISE_LINEAR
from derivations.activations.piecewise_smooth import PIECEWISE_SMOOTH
from derivations.activations.smooth import SMOOTH
from derivations.activations.solvable import SOLVABLE

ACTIVATIONS = MappingProxyType({a.name: a for a in (*PIECEWISE_LINEAR, *PIECEWISE_SMOOTH, *SMOOTH, *SOLVABLE)})
