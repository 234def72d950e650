"""Words of other libraries that a layer does not have, and what says the same."""

from __future__ import annotations

from types import MappingProxyType

_MIXER = "a random matrix over positions, whose noise all neurons share, is not in the language; given numbers mix them"

_SCORES = "normalised_sum(Q(x)*other(K(x)))"
_KEYS_SHARED = "A(attention(Q(x), K(x), V(x))) + B(attention(R(x), K(x), V(x)))"
_TURNED = "attention(rotary(Q(x), [1, 1/10]), rotary(K(x), [1, 1/10]), V(x))"


def _shared(shares: str) -> str:
    return f"over_positions({shares}*other(V(x)))"


def _biased(bias: str) -> str:
    return _shared(f"softmax({_SCORES} + {bias})")


#: By the word without case and underscores: a formula that can be typed, and a remark.
_SAID = {
    "mean": ("average(x)", ""),
    "avg": ("average(x)", ""),
    "sum": ("n*average(x)", "or over_positions(other(x)) for a sum over positions"),
    "var": ("average((x - average(x))**2)", ""),
    "std": ("sqrt(average((x - average(x))**2))", ""),
    "norm": ("sqrt(average(x**2))", "the norm over √n"),
    "l2norm": ("rms_norm(x)/sqrt(n)", ""),
    "normalize": ("rms_norm(x)/sqrt(n)", ""),
    "standardize": ("layer_norm(x)", ""),
    "groupnorm": ("layer_norm(x)", "which it is for one group and, at infinite width, for any fixed number of groups"),
    "instancenorm": ("over_positions(other(x))/2", "the mean of a neuron over two positions, for its averages"),
    "multiheadattention": ("self_attention(x, heads=4)", "or attention(Q(x), K(x), V(x)) for one head"),
    "scaleddotproductattention": ("attention(Q(x), K(x), V(x))", ""),
    "moe": ("mixture_of_experts([A(x), B(x)], [R(x, out=1), S(x, out=1)], top=1)", ""),
    "mixer": ("mixed([[0, 1], [1, 0]], x)", _MIXER),
    "mlpmixer": ("mixed([[0, 1], [1, 0]], x)", _MIXER),
    "tokenmixing": ("mixed([[0, 1], [1, 0]], x)", _MIXER),
    "conv": ("A(x, filter=3, padding=zeros)", ""),
    "droppath": ("drop_branch(x, 9/10)", ""),
    "stochasticdepth": ("drop_branch(x, 9/10)", ""),
    "layerscale": ("A(x)/10", "the number as a factor"),
    "rezero": (
        "A(x)/10",
        "the number as a factor, or a symbol among parameters= whose size scalings(net, small=...) takes to 0",
    ),
    "alibi": (_biased("position_matrix(-abs(here - there)/2)"), ""),
    "rope": (_TURNED, "by an angle a pair of neurons"),
    "rotaryembedding": (_TURNED, "by an angle a pair of neurons"),
}
#: What says no formula: why.
_UNSAID = {
    "batchnorm": "it reads other inputs, and a layer reads each input by itself; layer_norm reads its neurons",
    "topk": "the largest neurons of a layer have no rule; mixture_of_experts(experts, scores, top=2) takes experts by their scores",
}
#: Options that attention has in other libraries.
_OPTIONS = {
    "alibi": _biased("position_matrix(-abs(here - there)/2)"),
    "bias": _biased("position_matrix(-abs(here - there)/2)"),
    "attnbias": _biased("position_matrix(-abs(here - there)/2)"),
    "rotary": _TURNED,
    "rope": _TURNED,
    "qknorm": "attention(rms_norm(Q(x)), rms_norm(K(x)), V(x))",
    "softcap": _shared(f"softmax(50*tanh({_SCORES}/50))"),
    "logitsoftcapping": _shared(f"softmax(50*tanh({_SCORES}/50))"),
    "iscausal": "attention(Q(x), K(x), V(x), mask=causal)",
    "kvheads": _KEYS_SHARED,
    "numkvheads": _KEYS_SHARED,
    "groups": _KEYS_SHARED,
}
#: Kinds of attention that are said by their parts; two positions.
_KINDS = {kind: _shared(f"{kind}({_SCORES})") + "/2" for kind in ("relu", "sigmoid")}
OPTIONS_ELSEWHERE = MappingProxyType({word: f"write {formula}" for word, formula in _OPTIONS.items()})
KINDS_ELSEWHERE = MappingProxyType({kind: f"write {formula} for two positions" for kind, formula in _KINDS.items()})
ELSEWHERE = MappingProxyType(
    {word: f"write {formula}" + (f", {remark}" if remark else "") for word, (formula, remark) in _SAID.items()}
    | _UNSAID
)
