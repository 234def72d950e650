"""Kernels by blocks on executors, and what does not fit in memory."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import sympy as sp

from derivations import ConvResNet, ResNet, ShrinkingResNet, erf, identity, relu, tanh
from numerics.kernels import kernel_matrices, kernel_matrix, tiles

X = np.random.default_rng(5).normal(size=(7, 3))
NETWORKS = {
    "homogeneous": ResNet(relu, width=sp.oo),
    "pairs": ShrinkingResNet(tanh, erf, width=sp.oo),
    "linear": ShrinkingResNet(tanh, identity, width=sp.oo),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("other", [None, X[:3] + 1])
def test_blocks_on_an_executor_are_the_whole(name, other, monkeypatch):
    monkeypatch.setattr(tiles, "_SIDE", 3)
    monkeypatch.setattr(tiles, "_WAITING", 2)
    whole = kernel_matrices(NETWORKS[name], X, other=other)
    with ThreadPoolExecutor(2) as executor:
        found = kernel_matrices(NETWORKS[name], X, other=other, workers=executor)
    for some, every in zip((found.nngp, found.ntk), (whole.nngp, whole.ntk), strict=True):
        assert some.shape == every.shape
        assert np.abs(some - every).max() < 1e-8 * np.abs(every).max()
        assert not np.allclose(some, every + 1e-6, rtol=0, atol=1e-8)


@pytest.mark.slow
def test_blocks_in_processes(monkeypatch):
    monkeypatch.setattr(tiles, "_SIDE", 4)
    whole = kernel_matrix(NETWORKS["homogeneous"], X, kind="ntk")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        found = kernel_matrix(NETWORKS["homogeneous"], X, kind="ntk", workers=executor)
    assert np.allclose(found, whole, rtol=0, atol=1e-9)


def test_positions_go_to_executors_too():
    images = np.random.default_rng(6).normal(size=(3, 2, 4))
    network = ConvResNet(tanh, erf, width=sp.oo, positions=(4,), filter=(3,))
    with ThreadPoolExecutor(1) as executor:
        found = kernel_matrix(network, images, workers=executor)
    assert np.allclose(found, kernel_matrix(network, images), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_does_not_fit_is_said_before(name):
    with pytest.raises(MemoryError, match=r"2 kernels of 400000 with 400000 inputs take about 2384.2 GiB"):
        kernel_matrices(NETWORKS[name], np.broadcast_to(X[:1], (400_000, 3)))
