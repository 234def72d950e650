"""Filters: what each weight reads, against NumPy's own padding, in every dimension and with every padding."""

from itertools import product

import numpy as np
import pytest
import sympy as sp

from derivations import ConvResNet, DerivationError, Network, Weights, depth_limit, epsilon, identity, mixed, relu, tanh
from derivations.language.filters import PADDINGS, Filter

NUMPY = {"circular": "wrap", "zeros": "constant", "reflect": "reflect", "replicate": "edge"}


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(
    ("grid", "sizes"), [((5,), (3,)), ((5,), (5,)), ((3, 4), (3, 1)), ((4, 5), (3, 5)), ((3, 3, 4), (1, 3, 3))]
)
def test_taps_read_what_numpy_pads(grid, sizes, padding):
    image = 1.0 + np.arange(np.prod(grid)).reshape(grid)
    padded = np.pad(image, [(k // 2, k // 2) for k in sizes], mode=NUMPY[padding])
    offsets = list(product(*map(range, sizes)))
    for tap, offset in zip(Filter(sizes, padding).taps(grid), offsets, strict=True):
        window = padded[tuple(slice(o, o + p) for o, p in zip(offset, grid, strict=True))]
        read = [0.0 if a is None else image.ravel()[a] for a in tap]
        assert np.array_equal(read, window.ravel())


def test_inputs_are_read_apart_and_share_the_filter():
    weights = Weights("W", filter=3, padding="zeros").over((3,))
    assert [weights.reads(a) for a in range(6)] == [
        (None, 0, 1), (0, 1, 2), (1, 2, None), (None, 3, 4), (3, 4, 5), (4, 5, None),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_recipe_is_the_network_that_says_its_filter():
    W = Weights("W", variance=2, filter=(3,), padding="zeros")
    said = Network(lambda x: x + sp.tanh(epsilon * W(relu(x))), width=2, inputs=2, positions=3)
    recipe = ConvResNet(tanh, relu, width=2, positions=(3,), filter=(3,), inputs=2, circular=False, weight_variance=2)
    assert depth_limit(said) == depth_limit(recipe)
    other = ConvResNet(tanh, relu, width=2, positions=(3,), filter=(3,), inputs=2, weight_variance=2)
    assert depth_limit(said) != depth_limit(other)


W = Weights("W", filter=3)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Network(lambda x: x + epsilon * W(x), width=2), r"positions=\(\) in the matrix W"),
        (
            lambda: Network(lambda x: x + epsilon * W(x), width=2, positions=2),
            "no larger than the grid .* in the matrix W",
        ),
        (
            lambda: Network(lambda x: x + epsilon * W(x), width=2, positions=(3, 3)),
            "one for each dimension of the grid",
        ),
        (lambda: Weights("W", filter=2), "odd sizes"),
        (lambda: Weights("W", filter=(3, 0)), "odd sizes"),
        (lambda: Weights("W", filter="3"), "odd sizes"),
        (lambda: Weights("W", filter=3, padding="zero"), "unknown padding 'zero'; close names: zeros"),
        (lambda: Weights("W", filter=3, law="orthogonal", row_covariance=[[1]]), "are of Gaussian matrices"),
        (lambda: W.T(sp.Symbol("x", real=True)), "transpose of a filter has no rule"),
        (
            lambda: Network(lambda x: x + epsilon * Weights("W", taps=[(0, 1)])(x), width=2, positions=3),
            "reads other positions than the 3 of the network",
        ),
        (lambda: ConvResNet(tanh, identity, width=2, positions=(3, 3), filter=(3,)), "one for each dimension"),
    ],
)
def test_filters_that_do_not_fit_are_refused_with_the_matrix(make, says):
    with pytest.raises(DerivationError, match=says):
        make()


@pytest.mark.parametrize(
    ("filter_", "padding", "grid", "count"),
    [
        (3, "circular", 5, 10),
        (3, "zeros", 5, 2),
        (3, "replicate", 5, 2),
        (1, "circular", 5, 1),
        ((3, 3), "circular", (3, 4), 24),
    ],
)
def test_symmetries_of_positions_keep_what_is_read(filter_, padding, grid, count):
    W = Weights("W", filter=filter_, padding=padding)
    program = Network(lambda x: x + epsilon * W(relu(x)), width=2, positions=grid).program()
    (taps,) = {w.taps for w in program.filters}
    reads = [sorted(-1 if tap[a] is None else tap[a] for tap in taps) for a in range(program.positions)]
    orders = program.position_symmetries
    assert len(orders) == count
    for order in orders:
        moved = [sorted(order[b] if b >= 0 else b for b in reads[a]) for a in range(program.positions)]
        assert moved == [reads[order[a]] for a in range(program.positions)]


def test_positions_mixed_by_numbers_keep_only_symmetries_of_the_numbers():
    W = Weights("W", filter=3)
    shift = sp.Matrix(4, 4, lambda a, b: int((b - a) % 4 == 1))
    first = sp.Matrix(4, 4, lambda a, b: int(a == b == 0))

    def symmetries(matrix):
        return Network(lambda x: x + epsilon * W(mixed(matrix, x)), width=2, positions=4).program().position_symmetries

    assert symmetries(shift) == ((0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2))
    assert symmetries(first) == ((0, 1, 2, 3), (0, 3, 2, 1))
