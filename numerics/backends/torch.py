"""PyTorch: tensors on any device, with derivatives; extra ``torch``. Precision is that of the tensors that come in."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, wraps
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from numerics.backends.base import Backend, Function, strict_settings
from numerics.backends.differentiated import WITH_DERIVATIVES
from numerics.backends.numpy import NumPyWriter

_TWINS = {
    "ErrorTail": "erfc",
    "ExponentialTail": "error_tail",
    "LogCosh": "log_cosh",
    "LogNormalCdf": "log_ndtr",
    "ReciprocalExpm1": "reciprocal_expm1",
    "ReciprocalSinh": "reciprocal_sinh",
    "erfinv": "erfinv",
}
#: Functions that printed code calls, by PyTorch's names where these differ.
_RENAMED = {
    "arctan2": "atan2",
    "equal": "eq",  # PyTorch's own equal is one answer for two whole tensors
    "erfinv": "special.erfinv",
    "log_ndtr": "special.log_ndtr",
    "i0": "special.i0",
    "i1": "special.i1",
}
_SAME = """abs arccos arccosh arcsin arcsinh arctan arctanh ceil cos erf erfc floor greater greater_equal less less_equal
log log1p logical_not maximum minimum not_equal sign sin sqrt square tan tanh where"""
#: Of this project, where PyTorch has none or the derivatives of its own are no numbers.
_OWN = "cosh error_tail exp expm1 log_cosh logaddexp reciprocal_expm1 reciprocal_sinh sinh"


def _printer() -> NumPyWriter:
    return NumPyWriter(strict_settings(_TWINS))


@cache
def _modules() -> dict[str, Any]:
    """What printed code may use; loads PyTorch."""
    torch = import_module("torch")

    def lifted(name: str, module: Any = torch) -> Callable[..., Any]:
        function: Any = module
        for part in name.split("."):
            function = getattr(function, part)

        def of_tensors(*arguments: Any) -> Any:
            kind = next((a.dtype for a in arguments if torch.is_tensor(a) and a.dtype.is_floating_point), torch.float64)
            as_tensors = (
                a if torch.is_tensor(a) else torch.as_tensor(a, dtype=torch.bool if isinstance(a, bool) else kind)
                for a in arguments
            )
            return function(*as_tensors)

        return of_tensors

    names = {name: lifted(name) for name in _SAME.split()} | {name: lifted(own) for name, own in _RENAMED.items()}
    own = import_module("numerics.special.tensors")
    names |= {name: lifted(name, own) for name in _OWN.split()}
    return names | {"pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan}


def _wrap(function: Function) -> Callable[..., tuple[Any, ...]]:
    """Tensors in, one tensor per expression out, all of the arguments' common shape."""
    torch = import_module("torch")

    @wraps(function)
    def on_tensors(*arguments: Any) -> tuple[Any, ...]:
        like = next((a for a in arguments if torch.is_tensor(a)), torch.zeros((), dtype=torch.float64))
        tensors = torch.broadcast_tensors(
            *(a if torch.is_tensor(a) else torch.as_tensor(a, dtype=like.dtype, device=like.device) for a in arguments)
        )
        values = (torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in function(*tensors))
        return tuple(v.expand(tensors[0].shape) for v in values)

    return on_tensors


def is_available() -> bool:
    """Whether PyTorch can be imported, found without importing it."""
    return find_spec("torch") is not None


TORCH = Backend(
    "torch",
    _printer,
    _modules,
    WITH_DERIVATIVES,
    _wrap,
    1e-13,
)
