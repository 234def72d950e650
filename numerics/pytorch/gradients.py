"""Gradients that are not those of what a module computes: stopped ones, and ones that a function brings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from numerics.pytorch.network import OWN_GRADIENTS


@contextmanager
def own_gradients_said(remark: Callable[[str], None]) -> Iterator[None]:
    """Say it when a ``torch.autograd.Function`` is called meanwhile, whose backward is written by hand."""
    function = import_module("torch.autograd").Function
    plain = vars(function)["apply"]

    def apply(cls: Any, *arguments: Any, **options: Any) -> Any:
        remark(OWN_GRADIENTS)
        return plain.__func__(cls, *arguments, **options)

    function.apply = classmethod(apply)
    try:
        yield
    finally:
        function.apply = plain
