r"""Which law each matrix of a block is drawn from: named by the user, PyTorch's own, or measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from derivations.language.filters import Tap
from numerics.pytorch.initialisers import Draw, disagreement, measured, named


@dataclass(frozen=True)
class Tensors:
    """The weights of one matrix of a block.

    Parameters
    ----------
    weight : tensor, shape (out, in, ...)
    bias : tensor or None
    default : str
        The initialiser that PyTorch itself uses for this module.
    taps : sequence of Tap
        For filters.
    """

    weight: Any
    bias: Any = None
    default: str = "default"
    taps: Sequence[Tap] = ()

    @property
    def out(self) -> int:
        """How many neurons come out."""
        return int(self.weight.shape[0])

    @property
    def reads(self) -> int:
        """How many neurons are read."""
        return int(self.weight.shape[1])

    @property
    def fan_in(self) -> int:
        """How many numbers one neuron reads, a filter's places included."""
        return int(self.weight[0].numel())


class Draws:
    """The laws of a block's matrices.

    Parameters
    ----------
    block : Module
    initialiser : str, float or mapping
        As for :func:`numerics.from_torch`.
    copies : sequence of Module
        What is measured, or compared with a name: the block, and fresh ones made like it.
    """

    def __init__(
        self,
        block: Any,
        initialiser: str | float | Mapping[str, str | float],
        copies: Sequence[Any],
    ) -> None:
        self.block, self.initialiser, self.copies = block, initialiser, copies
        self._remarks: list[str] = []

    def of(self, name: str, width: sp.Expr, features: int | None, tensors: Tensors) -> Draw:
        """The law of one matrix.

        Raises
        ------
        ValueError
            If the weights as they stand cannot come from PyTorch's own initialiser, or no law is given for them.
        """
        said = self._said(name)
        if said == "measured":
            self._require_own(name, "measured")
            return self._measured(name, tensors)
        if said == "default" and not tensors.default:
            raise ValueError(
                f'{name} is a tensor that the block draws itself; name its initialiser, or give initialiser="measured"'
            )
        read = sp.S.One if tensors.fan_in == 1 != features else width * sp.Rational(tensors.fan_in, features)
        self._require_own(name, said)
        draw = named(
            tensors.default if said == "default" else said,
            read,
            sp.Rational(tensors.out, tensors.reads),
            tensors.bias is not None,
        )
        if said == "default":
            self._require_default(name, draw, tensors)
        else:
            self._remark_on(name, said, draw, tensors)
        return draw

    def _remark_on(self, name: str, said: str | float, draw: Draw, tensors: Tensors) -> None:
        """Weights that the named initialiser would not draw, as after training, or with a gain that was not said."""
        weights, biases = self._entries(name, tensors)
        why = disagreement(draw.variance, "weights", weights, tensors.fan_in, uniform=False)
        if why is None and draw.bias_variance == 0:
            why = disagreement(0, "biases", biases, tensors.fan_in) if biases.any() else None
        if why is not None:
            kind = with_kind(self.block, name)
            self._remarks.append(
                f"{kind} is taken as {said} draws it, but {why}; a gain, or training, is not seen by that name"
            )

    def _require_default(self, name: str, draw: Draw, tensors: Tensors) -> None:
        weights, biases = self._entries(name, tensors)
        why = disagreement(draw.variance, "weights", weights, tensors.fan_in, draw.law == "uniform")
        if why is None and tensors.bias is not None:
            why = disagreement(
                sp.Rational(1, 3) if tensors.default == "default" else 0, "biases", biases, tensors.fan_in
            )
        if why is not None:
            raise ValueError(
                f'{with_kind(self.block, name)} does not look like PyTorch\'s default: {why}; name its initialiser, or give initialiser="measured"'
            )

    def _entries(self, name: str, tensors: Tensors) -> tuple[np.ndarray, np.ndarray]:
        """Weights and biases of all copies; of a few weights alone nothing could be said."""
        made = [tensors_of(copy, name) for copy in self.copies[1:]]
        weights = [array(weight).ravel() for weight in (tensors.weight, *(weight for weight, _ in made))]
        biases = [array(bias).ravel() for bias in (tensors.bias, *(bias for _, bias in made)) if bias is not None]
        return np.concatenate(weights), np.concatenate([*biases, np.empty(0)])

    def _require_own(self, name: str, said: str | float) -> None:
        """Weights that are computed from others have the initialiser's law where a fresh weight norm leaves them as they are."""
        kinds = [
            kind for kind in reparametrised(holder_of(self.block, name)) if kind not in ("WeightNorm", "_WeightNorm")
        ]
        if kinds and said == "default":
            raise ValueError(
                f"{with_kind(self.block, name)} computes its weights from others ({', '.join(kinds)}), whose law is not PyTorch's default; name "
                "that of its weights, such as initialiser={'" + name + "': 'orthogonal'}, or measure them"
            )
        if kinds:
            law = "independent, of the variance that was measured" if said == "measured" else f"drawn from {said}"
            self._remarks.append(
                f"the weights of {name} are computed from others ({', '.join(kinds)}); they are taken as {law}"
            )

    def _said(self, name: str) -> str | float:
        if not isinstance(self.initialiser, Mapping):
            return self.initialiser
        above = name.split(".")
        for key in (*(".".join(above[:i]) for i in range(len(above), 0, -1)), ""):
            if key in self.initialiser:
                return self.initialiser[key]
        raise ValueError(f'no initialiser is given for {name}; add it, or "" for all others')

    def _measured(self, name: str, tensors: Tensors) -> Draw:
        found = [tensors_of(copy, name) for copy in self.copies]
        if len(found) == 1:
            self._remarks.insert(
                0, "weights were measured on one copy; give a callable that makes the block to measure fresh ones"
            )
        elif bool((found[0][0] == found[1][0]).all()) and len(found[0][0].unique()) > 1:
            found = found[:1]
            self._remarks.append(
                f"{name} was measured on one copy, since the callable makes the same weights each time, as with a seed inside it"
            )
        turned = found[0][0].shape != tensors.weight.shape  # as of x @ W, whose rows are read
        weights = [array(weight.t() if turned else weight).reshape(tensors.out, -1) for weight, _ in found]
        biases = [array(bias) for _, bias in found if bias is not None and tensors.bias is not None]
        try:
            return measured(weights, biases)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    @property
    def remarks(self) -> tuple[str, ...]:
        """What should be known of weights that are measured or computed."""
        return tuple(dict.fromkeys(self._remarks))


def tensors_of(block: Any, name: str) -> tuple[Any, Any]:
    """Weight and bias by a matrix's name: a module's, a packed input projection's, or that of a tensor itself.

    ``attn.in_proj`` are the packed projections of an attention module, ``attn.q_proj`` one of several.
    """
    holder, _, last = name.rpartition(".")
    parent = block.get_submodule(holder)
    packed = getattr(parent, f"{last}_weight", None)
    if packed is not None:
        biases = parent.in_proj_bias
        return packed, biases if last == "in_proj" or biases is None else biases.chunk(3)["qkv".index(last[0])]
    found = block.get_submodule(name) if hasattr(block, "get_submodule") and _is_module(parent, last) else None
    if found is None:
        return getattr(parent, last), None
    return found.weight, found.bias


def holder_of(block: Any, name: str) -> Any:
    """The module that holds a matrix: by its own name, or by that of a tensor in it."""
    holder, _, last = name.rpartition(".")
    parent = block.get_submodule(holder)
    return getattr(parent, last) if last and _is_module(parent, last) else parent


def reparametrised(module: Any) -> list[str]:
    """The kinds of parametrizations that compute a module's weights; older ones are hooks."""
    lists = getattr(module, "parametrizations", {})
    kinds = [type(p).__name__ for key in lists for p in lists[key]]
    hooks = [h for h in module._forward_pre_hooks.values() if f"{type(h).__module__}.".startswith("torch.nn.utils.")]
    return kinds + [type(h).__name__ for h in hooks]


def source_of(block: Any, name: str, weight: Any) -> Any:
    """The parameter that a matrix's weights are computed from, by which the same matrix is known when it is met again."""
    module = holder_of(block, name)
    lists = getattr(module, "parametrizations", {})
    if "weight" in lists:
        return (
            getattr(lists["weight"], "original1", None)
            if hasattr(lists["weight"], "original1")
            else lists["weight"].original
        )
    for other in ("weight_v", "weight_orig"):
        if other in getattr(module, "_parameters", {}):
            return module._parameters[other]
    return weight


def with_kind(block: Any, name: str) -> str:
    """A module or a tensor of a block by its name and kind, as messages say it."""
    try:
        kind = type(block.get_submodule(name)).__name__
    except AttributeError:
        holder, _, last = name.rpartition(".")
        kind = type(getattr(block.get_submodule(holder), last, block.get_submodule(holder))).__name__
    return f"{name} ({kind})" if name else kind


def _is_module(parent: Any, last: str) -> bool:
    return last == "" or last in dict(parent.named_children())


def array(tensor: Any) -> np.ndarray:
    """As NumPy sees it."""
    return np.asarray(tensor.detach().cpu().double().numpy(), dtype=float)


#: As many weights of each matrix are compared with the law that a name gives them, where fresh copies can be made.
_COMPARED = 1024


def copies_of(block: Any, fresh: Any, initialiser: Any, number: int) -> list[Any]:
    """The block, and as many fresh ones that initialisers are measured on, or compared with; made before the block is traced, when drawing is refused.

    Raises
    ------
    ValueError
        If the number of copies is no positive whole number.
    """
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"copies is the number of blocks to measure, at least 1, got {number!r}")
    if fresh is None:
        return [block]
    said = initialiser.values() if isinstance(initialiser, Mapping) else [initialiser]
    if "measured" not in said:
        few = min((p.numel() for p in block.parameters() if p.ndim > 1 and p.numel() > 0), default=_COMPARED)
        number = min(number, -(-_COMPARED // few))
    return [block, *(fresh() for _ in range(number - 1))]
