r"""From a PyTorch module to a layer's formula: torch.fx lists what the module does, one rule reads each node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import sympy as sp

from derivations import epsilon
from derivations.architectures.base import checked_width
from derivations.architectures.network import grid_of
from numerics.pytorch.draws import Draws, copies_of
from numerics.pytorch.graph import Graph
from numerics.pytorch.guards import require_readable, unwrapped
from numerics.pytorch.network import TorchNetwork
from numerics.pytorch.reader import Reader
from numerics.pytorch.rules import rule_of
from numerics.pytorch.sizes import extends, possible_orders, possible_sizes, shape_of_state
from numerics.pytorch.values import Axis, Misfit, Value, spoken

#: How many fresh copies of a block measure its weights.
COPIES = 64


def from_torch(
    block: Any,
    *,
    width: object = None,
    inputs: int = 1,
    initialiser: str | float | Mapping[str, str | float] = "default",
    positions: object = (),
    copies: int = COPIES,
    scale: object = epsilon,
    exact_law: bool = False,
    arguments: Mapping[str, Any] | None = None,
) -> TorchNetwork:
    r"""A PyTorch block as a network whose layers are drawn like it.

    The block maps a tensor of shape (..., features) to one of the same shape. It is traced with ``torch.fx``; linear modules and filters
    become random matrices, norms averages over the neurons, dropout i.i.d. factors, attention a softmax over positions. A branch
    that is added to the state is multiplied by ``scale``, since a block as it stands has no limit as the depth grows:
    :math:`\varepsilon = L^{-1/2}` gives it one.

    Parameters
    ----------
    block : torch.nn.Module, or callable without arguments that makes one
        In training mode dropout is active, after ``block.eval()`` it is not. A callable is needed for ``initialiser="measured"``.
    width : int, Symbol or oo, optional
        The number of neurons; by default the block's features. Hidden layers keep their ratio to it.
    inputs : int
        The number of network inputs that are followed jointly.
    initialiser : str, float or mapping
        What the weights are drawn from: ``"default"`` (PyTorch's own), a name of ``torch.nn.init`` (``"kaiming_normal"``,
        ``"xavier_uniform"``, ...) with biases 0, ``"lecun_normal"``, the standard deviation of each weight, or ``"measured"`` from fresh
        copies. A mapping gives one for each module's dotted name, with ``""`` for all others.
    positions : int or tuple of int
        How many positions (tokens, pixels) an input has, or the sizes of their grid; needed where the block mixes them, as attention and
        convolutions do, or asks for the shape of its input. Tensors then have axes (batch, positions, features), with positions first
        where an attention module says ``batch_first=False``, or (batch, channels, grid) where the block begins with a convolution; where
        shapes do not fit so, as in a block that transposes before them, the order at which they do is taken, and a remark says it.
    copies : int
        How many fresh copies are measured.
    scale : Expr
        What multiplies a branch; 1 leaves the block as it stands.
    exact_law : bool
        Keep the law of weights that are not Gaussian: uniform ones, or the fourth moment of measured ones; biases, one number beside k, stay
        Gaussian, which in front of a function changes a share of order :math:`1/k^2`. Without it Gaussian weights of the
        same variance stand for them, and a remark says what that changes: nothing at infinite width, nor as the depth grows where
        the layer is linear in them, such as its last matrix; else a share of order 1/k, k being the neurons that are read.
    arguments : mapping, optional
        What the block's ``forward`` reads beside the state, by name: a mask of the scores, tables of positions, or any number or flag. Others
        have their defaults.

    Returns
    -------
    TorchNetwork
        A :class:`derivations.Network`; printed, it says what was read and what was simplified.

    Raises
    ------
    ValueError
        For a block that cannot be traced, a module without a rule, or weights that do not look drawn from the initialiser that
        was named; the message names the module.
    ImportError
        Without the extra ``torch``.

    Examples
    --------
    The page "From your PyTorch model to its limit" runs this and more where PyTorch is installed::

        class Block(nn.Module):
            def __init__(self, n=16):
                super().__init__()
                self.norm, self.up, self.down = nn.LayerNorm(n), nn.Linear(n, 4 * n), nn.Linear(4 * n, n)

            def forward(self, x):
                return x + self.down(nn.functional.relu(self.up(self.norm(x))))

        derive(from_torch(Block, initialiser="kaiming_normal", width=oo)).limit.drift[0]  # 2
    """
    try:
        nn = import_module("torch.nn")
    except ImportError as error:
        raise ImportError(
            "PyTorch is not installed; install the extra torch: pip install 'deeplimits[torch]'"
        ) from error
    is_module = isinstance(block, nn.Module) or not callable(block)
    made, fresh = unwrapped(block if is_module else block()), None if is_module else lambda: unwrapped(block())
    if not isinstance(made, nn.Module):
        raise ValueError(f"a block must be a torch.nn.Module or make one, got {type(made).__name__}")
    require_readable(made, arguments or {})
    measured = copies_of(made, fresh, initialiser, copies)
    size = None if width is None else checked_width(width)

    def read(features: int | None, order: tuple[Axis, ...] | None = None) -> tuple[Reader, Value]:
        draws = Draws(made, initialiser, measured)
        reader = Reader(made, size, grid_of(positions), draws, exact_law, sp.sympify(scale), features, order)
        return reader, _walked(reader, made, arguments or {})

    reader, value = _first_that_fits(read, possible_sizes(made), possible_orders(grid_of(positions)))
    if value.axes != reader.axes:
        raise ValueError(
            f"the block reads a tensor of {spoken(reader.axes)} and puts out one of {spoken(value.axes)}; a layer that is repeated must "
            "keep them"
        )
    features, puts_out = reader.features, reader.count(value.part)
    if puts_out != features:
        raise ValueError(
            f"the block reads {features} features and puts out {puts_out}; a layer that is repeated must keep their number"
        )
    layer = reader.finished(value)
    return TorchNetwork(
        layer,
        width=reader.width,
        inputs=inputs,
        positions=reader.positions,
        modules=tuple(reader.modules.items()),
        remarks=(*reader.remarks, *reader.draws.remarks),
        matrices=reader.matrices_in(layer),
        frozen=tuple(reader.frozen),
    )


def _first_that_fits(
    read: Callable[..., tuple[Reader, Value]], sizes: Sequence[int], orders: Sequence[tuple[Axis, ...]]
) -> tuple[Reader, Value]:
    """The block as its first modules read it; where its shapes do not fit, in another order of axes, else with another number of features."""
    refused: list[ValueError] = []

    def tried(features: int | None, order: tuple[Axis, ...] | None) -> tuple[Reader, Value] | None:
        try:
            reader, value = read(features, order)
        except ValueError as error:
            refused.append(error)
            return None
        may_be_positions = (
            order is not None and reader.features in reader.positions
        )  # what reads features may mix positions
        return None if may_be_positions or (refused and value.axes != reader.axes) else (reader, value)

    found = tried(None, None)
    if refused and _is_misfit(refused[0]) and len(orders) > 1:
        found = next(filter(None, (tried(None, order) for order in orders)), None)
        if found is not None:
            found[0].remark(f"the state is read as a tensor of {spoken(found[0].axes)}")
    found = found or next(filter(None, (tried(size, None) for size in sizes)), None)
    if found is not None:
        return found
    raise next((error for error in refused if not _is_misfit(error)), refused[0])


def _is_misfit(error: BaseException | None) -> bool:
    """Whether shapes did not fit, so that another error is the true reason."""
    return error is not None and (isinstance(error, Misfit) or _is_misfit(error.__cause__))


def _walked(reader: Reader, block: Any, arguments: Mapping[str, Any]) -> Value:
    """What the block puts out; a module with a rule is not traced."""
    rule = rule_of(block, None)
    if rule is not None:
        reader.prepare(*shape_of_state([("", block)], reader.positions))
        found = rule(reader, "", block, *[reader.placeholder()] * _tensors_read(block), **arguments)
        return _state_of(reader, found)
    own = set(vars(block))
    try:
        return _state_of(reader, Graph(reader, block, arguments).output())
    finally:  # torch.fx keeps tensors that are no block's as attributes of the block
        for name in vars(block).keys() - own:
            delattr(block, name)


def _state_of(reader: Reader, found: Any) -> Value:
    """The new state: the first of several things that a block puts out, as attention's weights follow it.

    Raises
    ------
    ValueError
        For a dictionary, and for what is no tensor.
    """
    if isinstance(found, dict):
        names = ", ".join(map(repr, found))
        raise ValueError(
            f"the block puts out a dictionary with {names}; wrap it in a module that returns the new state alone"
        )
    if isinstance(found, (tuple, list)) and len(found) > 1:
        if any(other is not None for other in found[1:]):
            reader.remark(f"of {len(found)} things that the block puts out the first one is the state")
        found = found[0]
    return reader.value(found, "the block's output")


def _tensors_read(module: Any) -> int:
    """Attention by itself is that of the state with itself."""
    return 3 if extends(module, "MultiheadAttention") else 1
