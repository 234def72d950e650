"""Words of other libraries that a layer does not have, and what says the same."""

from __future__ import annotations

from types import MappingProxyType

_MIXER = "a random matrix over positions, whose noise all neurons share, is not in the language; given numbers mix them"

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
}
#: What says no formula: why.
_UNSAID = {
    "batchnorm": "it reads other inputs, and a layer reads each input by itself; layer_norm reads its neurons",
    "topk": "the largest neurons of a layer have no rule; mixture_of_experts(experts, scores, top=2) takes experts by their scores",
}
ELSEWHERE = MappingProxyType(
    {word: f"write {formula}" + (f", {remark}" if remark else "") for word, (formula, remark) in _SAID.items()}
    | _UNSAID
)
