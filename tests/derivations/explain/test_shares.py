"""How means over a softmax are explained."""

from __future__ import annotations

import pytest
import sympy as sp

from derivations import AttentionBlock, TransformerBlock, derive, relu


@pytest.mark.slow
def test_means_over_a_softmax_are_said_once():
    text = " ".join(str(derive(TransformerBlock(width=sp.oo, positions=4, activation=relu), order="width")).split())
    assert "dK_11/dt = E[a_1ᵀ C a_1] + 1/2" in text
    assert "Cov[Y_αβ, Y_γδ] = C_αγ C_βδ" in text
    assert "likewise for other indices" in text
    assert "dK_13/dt" not in text
    masked = str(derive(TransformerBlock(width=sp.oo, positions=4, activation=relu, masked=True), order="width"))
    assert "likewise" not in masked
    assert "dK_44/dt" in masked
    heads = " ".join(
        str(derive(AttentionBlock(width=sp.oo, positions=2, size=3, bias_variance=1), order="width")).split()
    )
    assert heads.startswith("AttentionBlock with weights K, O, Q, V, width oo")
    assert "of 3 Gaussian queries and keys" in heads
