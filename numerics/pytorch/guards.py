"""What is refused before a block is read: hooks that no rule sees, and tensors without numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from numerics.pytorch.draws import reparametrised, with_kind
from numerics.pytorch.rules import rule_of
from numerics.pytorch.values import is_tensor


def require_readable(block: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse hooks on modules that are read by a rule or come first, and tensors that have no real numbers, also among the arguments.

    Raises
    ------
    ValueError
        The message names the module.
    """
    for name, tensor in (*block.named_parameters(), *block.named_buffers()):
        reason = _without_numbers(tensor)
        if reason:
            raise ValueError(f"{with_kind(block, name.rpartition('.')[0])}: its {name.rpartition('.')[2]} {reason}")

    for name, given in arguments.items():
        for tensor in given if isinstance(given, (tuple, list)) else (given,):
            reason = _without_numbers(tensor) if is_tensor(tensor) else ""
            if reason:
                raise ValueError(f"the argument {name} {reason}")

    for name, module in _whole(block):
        hooks = [*module._forward_hooks.values()]
        hooks += [h for h in module._forward_pre_hooks.values() if type(h).__name__ not in reparametrised(module)]
        if hooks:
            raise ValueError(
                f"{with_kind(block, name)} has a forward hook, which may change what it puts out; remove it, or write what it does as a module"
            )


def unwrapped(block: Any) -> Any:
    """The module itself, out of what compiles it or runs it on several devices.

    Raises
    ------
    ValueError
        For code that torch.jit has compiled.
    """
    while True:
        inner = getattr(block, "_orig_mod", None)
        if type(block).__name__ in ("DataParallel", "DistributedDataParallel"):
            inner = block.module
        if inner is None:
            break
        block = inner
    if type(block).__module__.startswith("torch.jit"):
        raise ValueError("the block is compiled by torch.jit and cannot be traced; give the module as it was before")
    return block


def _whole(block: Any) -> Iterator[tuple[str, Any]]:
    """The block itself, and the modules with a rule with all that is in them."""
    ruled: tuple[str, ...] = ()
    for name, module in block.named_modules():
        inside = any(name == stem or name.startswith(f"{stem}.") for stem in ruled)
        if not inside and name and rule_of(module, None) is not None:
            ruled, inside = (*ruled, name), True
        if inside or not name:
            yield name, module


def _without_numbers(tensor: Any) -> str:
    if "Uninitialized" in type(tensor).__name__:
        return "has no size before the module is called once; call it on a batch first"
    if tensor.is_meta:
        return "is on the device meta and has no numbers; make the block on a device that holds them"
    if tensor.is_complex():
        return "has complex numbers, which have no rule"
    if tensor.is_quantized:
        return "has quantised numbers, which have no rule"
    if tensor.is_floating_point() and bool(tensor.detach().isnan().any()):
        return "holds nan, as memory that was never set does; make the block as its model does, or set it"
    return ""
