r"""What residual blocks have in common: norms before or behind, the laws of their matrices, dropout and dropped branches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import sympy as sp

from derivations.architectures.base import (
    Recipe,
    checked_inputs,
    checked_mean,
    checked_variance,
    checked_width,
    require_flags,
)
from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, shown, unknown
from derivations.language import Weights, drop_branch, dropout, layer_norm, mixture_of_experts, rms_norm
from derivations.language.entries import Gaussian, covariance_matrix, matrix_law
from derivations.language.statements import Matrix
from derivations.symbols import step

#: What a block divides by, by the word that PyTorch and JAX users know it under.
NORMS: dict[str, Callable[[sp.Expr], sp.Expr]] = {"rms": rms_norm, "layer": layer_norm, "none": lambda body: body}
PLACES = ("pre", "post")


@dataclass(frozen=True)
class Block(Recipe):
    r""":math:`x' = x + \varepsilon\, b(\mathrm{norm}\,x)`, or :math:`x' = \mathrm{norm}(x + \varepsilon\, b(x))`.

    Matrices inside the branch b are made by :meth:`within`, those at its end by :meth:`ending`; the fields are documented where they are
    options, at :class:`~derivations.MLPBlock`.
    """

    _: KW_ONLY
    inputs: int = 1
    norm: str = "none"
    place: str = "pre"
    weight_variance: sp.Expr = sp.S.One
    bias_variance: sp.Expr = sp.S.Zero
    weight_mean: sp.Expr = sp.S.Zero
    bias_mean: sp.Expr = sp.S.Zero
    output_mean: sp.Expr = sp.S.Zero
    output_bias_mean: sp.Expr = sp.S.Zero
    law: object = "gaussian"
    row_covariance: object = None
    column_covariance: object = None
    keep: sp.Expr = sp.S.One
    keep_branch: sp.Expr = sp.S.One

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        require_flags(self)
        set_(self, "width", checked_width(self.width))
        set_(self, "inputs", checked_inputs(self.inputs))
        for name in ("weight_variance", "bias_variance"):
            set_(self, name, checked_variance(getattr(self, name), name))
        for name in ("weight_mean", "bias_mean", "output_mean", "output_bias_mean"):
            set_(self, name, checked_mean(getattr(self, name), name))
        for name in ("keep", "keep_branch"):
            set_(self, name, exact_decimals(getattr(self, name)))
        for name, known in (("norm", tuple(NORMS)), ("place", PLACES)):
            if getattr(self, name) not in known:
                raise DerivationError(unknown(name, getattr(self, name), known))
        set_(self, "law", matrix_law(self.law))
        for name in ("row_covariance", "column_covariance"):
            given = getattr(self, name)
            if given is not None:
                if not isinstance(self.law, Gaussian):
                    raise DerivationError(f"{name} is of Gaussian matrices, got law={self.law}; leave one of them out")
                set_(self, name, covariance_matrix(given, name))
        self.program()

    @property
    def through(self) -> dict[str, object]:
        """What the matrices read through besides."""
        return {}

    @property
    def mean_of(self) -> dict[str, str]:
        """The means that :meth:`ending` sets beside matrices."""
        names = {s.weights.name for s in self.program().statements if isinstance(s, Matrix)}
        return {f"M{name}": name for name in names if f"M{name}" in names}

    def within(self, name: str, out: sp.Expr) -> Weights:
        """A matrix inside the branch."""
        means = {"mean": self.weight_mean, "bias_mean": self.bias_mean}
        variances = {"variance": self.weight_variance, "bias_variance": self.bias_variance}
        return Weights(name, out=out, law=self.law, **variances, **means, **self.through)  # type: ignore[arg-type]

    def ending(self, name: str, body: sp.Expr, share: int = 1) -> sp.Expr:
        """What a matrix at the end of the branch makes of a body; of so many ends, each has its share of the variance and mean."""
        drawn = Weights(
            name,
            variance=self.weight_variance / share,
            bias_variance=self.bias_variance / share,
            law=self.law,
            row_covariance=self.row_covariance,
            column_covariance=self.column_covariance,
            **self.through,  # type: ignore[arg-type]
        )(body)
        if self.output_mean == 0 and self.output_bias_mean == 0:
            return drawn
        means = {"mean": self.output_mean / share, "bias_mean": self.output_bias_mean / share}
        return drawn + step * Weights(f"M{name}", variance=0, **means, **self.through)(body)  # type: ignore[arg-type]

    def read(self, body: sp.Expr) -> sp.Expr:
        """What a branch reads of the state."""
        return NORMS[self.norm](body) if self.place == "pre" else body

    def added(self, body: sp.Expr, branch: sp.Expr, name: str = "b") -> sp.Expr:
        """The state after a branch, whose factor has a name."""
        if self.keep_branch != 1:
            branch = drop_branch(branch, self.keep_branch, name=name)
        summed = body + step * branch
        return NORMS[self.norm](summed) if self.place == "post" else summed

    def mixed(self, branch: Callable[[sp.Expr, str], sp.Expr], body: sp.Expr, experts: int, top: int | None) -> sp.Expr:
        """A branch, or the mixture of several of them with a router."""
        if experts == 1:
            return branch(body, "")
        numbers = [str(e) for e in range(1, experts + 1)]
        scores = [self.within(f"R{e}", sp.S.One)(body) for e in numbers]
        return mixture_of_experts([branch(body, e) for e in numbers], scores, top)

    def dropped(self, body: sp.Expr, name: str = "d") -> sp.Expr:
        """Neurons inside the branch after dropout."""
        return body if self.keep == 1 else dropout(body, self.keep, name=name)


def require_experts(experts: object, top: object) -> None:
    """Require a number of experts, and one of those that are used.

    Raises
    ------
    DerivationError
        For other numbers.
    """
    if isinstance(experts, bool) or not isinstance(experts, int) or experts < 1:
        raise DerivationError(f"experts is how many there are, a whole number from 1 on, got {shown(experts)}")
    if top is not None and (isinstance(top, bool) or not isinstance(top, int) or not 1 <= top <= experts):
        raise DerivationError(f"top is how many of {experts} experts an input uses, got {shown(top)}")


def hidden_neurons(given: object) -> sp.Expr:
    """How many hidden neurons a block has, exactly.

    Raises
    ------
    DerivationError
        For a number that is none of neurons.

    Examples
    --------
    >>> hidden_neurons(3)
    3
    """
    size = exact_decimals(given)
    if size.is_number and not (size.is_integer and size.is_positive):
        raise DerivationError(
            f"hidden must be a positive whole number of neurons, or a multiple of n, got hidden={given}"
        )
    return size
