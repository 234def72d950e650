"""Limits as JSON: read back as they were, from a fresh process too; nothing in the text is run."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys

import pytest
import sympy as sp

from derivations import (
    MLP,
    DerivationError,
    Diffusion,
    Flow,
    GatedBlock,
    MLPBlock,
    Network,
    NeuronDiffusion,
    PreNormResNet,
    ResNet,
    ShapedMLP,
    derive,
    gelu,
    relu,
    silu,
    symbols,
    tanh,
)
from derivations.interchange import read_source
from derivations.limits.collapse import CollapseDiffusion
from derivations.limits.width import KernelFlow

n = symbols.width
NETWORKS = {
    "one": ResNet(relu, width=1),
    "neurons": ResNet(relu, width=n, inputs=2),
    "means by text": MLPBlock(silu, width=n),
    "flow": ResNet(gelu, width=sp.oo, inputs=2),
    "collapse": MLP(relu, inputs=2),
    "shaped": ShapedMLP(tanh, inputs=2, a=1),
    "joint flow": PreNormResNet(relu, inputs=2),
    "gated": GatedBlock(silu, width=n, norm="rms"),
}


QUICK = ("one", "neurons", "flow")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
)
def test_a_limit_comes_back_from_a_derivation(name):
    d = derive(NETWORKS[name])
    kind = next(k for k in (NeuronDiffusion, Diffusion, Flow) if isinstance(d.limit, k))
    read = kind.from_json(d.to_json())
    for part in ("states", "drift", "covariance", "time", "domain", "width"):
        assert getattr(read, part, None) == getattr(d.limit, part, None), part


@pytest.mark.slow
def test_a_limit_comes_back_in_a_fresh_process():
    d = derive(NETWORKS["neurons"])
    code = "import sys; from derivations import NeuronDiffusion; print(NeuronDiffusion.from_json(sys.stdin.read()))"
    run = subprocess.run(
        [sys.executable, "-c", code], input=d.limit.to_json(), capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == str(d.limit)


def test_json_has_source_and_latex_of_each_coefficient():
    held = json.loads(derive(NETWORKS["one"]).to_json())["limit"]
    assert held["kind"] == "Diffusion"
    (((variance,),),) = (held["covariance"],)
    assert sorted(variance) == ["latex", "sympy"]
    assert r"\begin{cases}" in variance["latex"]
    assert json.loads(derive(NETWORKS["neurons"]).to_json())["limit"]["kind"] == "NeuronDiffusion"


def test_a_limit_is_the_same_behind_a_pickle():
    """SELU's drift was a number before a sum, which SymPy multiplies out when it reads a pickle; a kept product of that kind is the control."""
    gram = derive(MLPBlock("selu", width=n)).gram
    assert pickle.loads(pickle.dumps(gram)) == gram
    kept = sp.Mul(2, sp.Symbol("x") + 1, evaluate=False)
    assert pickle.loads(pickle.dumps(kept)) != kept


def test_a_factor_is_kept():
    x = sp.Symbol("x", real=True)
    limit = Diffusion((x,), [x], sigma=[[x, 1]], domain=sp.Interval.open(0, sp.oo))
    assert Diffusion.from_json(limit.to_json()) == limit


@pytest.mark.parametrize(
    "source",
    [
        "__import__('os').system('true')",
        "exp('__import__(\"os\")')",
        "Symbol.__class__",
        "Function(Symbol('f'))",
        "sympify('1')",
        "(lambda: 1)()",
        "[x for x in 'ab']",
        "Add(1, 2)",
        "Pow(Integer(10), Integer(1000000))",
        "Pow(Pow(Integer(10), Integer(9999)), Integer(9999))",
        "sympify(Integer(1))",
        "init_printing()",
        "Symbol(3.5)",
        "Symbol('x', **{})",
        "Mul(" * 2000 + "x",
        "Integer(1",
        "",
    ],
    ids=str.__len__,
)
def test_text_is_never_run(source):
    with pytest.raises(DerivationError):
        read_source(source)


@pytest.mark.parametrize("function", ["tanh", "erfc", "Abs", "Max", "besseli", "LambertW", "floor"])
def test_functions_come_back(function):
    x = sp.Symbol("x", real=True)
    made = getattr(sp, function)
    made = made(2, x) if function in ("Max", "besseli") else made(x)
    assert read_source(sp.srepr(made)) == made
    assert read_source("Pow(Integer(2), Integer(9999))") == 2**9999


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "this is no JSON"),
        ("[]", "holds no limit of a known kind, Diffusion, NeuronDiffusion, Flow"),
        ('{"kind": "Diffusion"}', "holds no whole Diffusion"),
        (7, "read from JSON text, got 7"),
        ('{"kind": "Flow", "states": [], "drift": []}', "this JSON holds a Flow, not a Diffusion; read it with Flow.from_json"),
        ('{"kind": "Diffusion", "states": [{"sympy": "Symbol(\'x\')"}], "drift": [[1]], "covariance": [[1]]}', "expected {\"sympy\": …} or a list"),
    ],
    ids=["broken", "other", "parts", "number", "kind", "entry"],
)  # fmt: skip
def test_what_holds_no_limit_is_refused(text, says):
    with pytest.raises(DerivationError, match=says):
        Diffusion.from_json(text)


@pytest.mark.parametrize(
    ("layer", "kept"),
    [
        ("x + eps*A(relu(B(x)))", "second"),
        ("x + eps*A(tanh(B(x))) + eps**2", "means"),
        ("rms_norm(x + eps*A(relu(B(x))))", "fixed"),
    ],
)
def test_flows_of_kernels_come_back_whole(layer, kept):
    """They were plain flows, without the norm that is fixed and the means that move."""
    limit = derive(Network(layer, width=sp.oo, inputs=2)).limit
    assert getattr(limit, kept)
    found = Flow.from_json(limit.to_json())
    assert type(found) is KernelFlow
    assert found == limit
    assert dataclasses.replace(found, **{kept: ()}) != limit  # the control


def test_the_diffusion_of_a_collapse_comes_back_whole():
    limit = derive(MLP(relu, inputs=2)).limit
    found = Diffusion.from_json(limit.to_json())
    assert type(found) is CollapseDiffusion
    assert found == limit
    assert found.start == limit.start != 0
    assert str(found) == str(limit)
    assert dataclasses.replace(found, start=limit.start + 1) != limit  # the control


def test_a_choice_between_conditions_comes_back():
    """It was written, and refused where it was read."""
    limit = derive(Network("x + eps*A(where(leaky_relu(x) > 1/4, x, 1))", width=1)).limit
    chosen = limit.covariance.atoms(sp.ITE)
    assert chosen or "ITE" in limit.to_json()
    assert Diffusion.from_json(limit.to_json()) == limit
