r"""The front door: the Jacobian of a network, its inverse, its determinant and the volumes of tangents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.architectures.network import with_free_time
from derivations.backward.differential import LayerDifferential
from derivations.backward.equation import MatrixEquation, of_columns, of_inverse_rows
from derivations.backward.volume import Isotropic, LogDeterminant
from derivations.backward.words import steps
from derivations.diffusion import Diffusion, NeuronDiffusion
from derivations.errors import DerivationError
from derivations.explain import data, latex, text, typst
from derivations.explain.files import write_whole
from derivations.explain.steps import Step
from derivations.limits.tangents import tangent_limit


@dataclass(frozen=True)
class Jacobian:
    r"""The Jacobian :math:`J_t = \partial X_t/\partial X_0` of a network of infinite depth at a fixed width.

    Attributes
    ----------
    network : Recipe
        With one input.
    sde : MatrixEquation
        Of J, column by column.
    log_det : LogDeterminant
        Of :math:`\log|\det J|`.
    """

    network: Recipe

    @cached_property
    def layer(self) -> LayerDifferential:
        """One layer's derivative as a random matrix."""
        return LayerDifferential(self.network.program())

    @cached_property
    def sde(self) -> MatrixEquation:
        """The matrix equation, by a generic column."""
        return of_columns(self.layer)

    @cached_property
    def inverse(self) -> MatrixEquation:
        r"""The matrix equation of :math:`K = J^{-1}`, by a generic row.

        The gradient in a layer s is :math:`J_s^{-\top}` times that in the first one, so it moves with s as a row of K does.

        Raises
        ------
        NotClosed
            If neurons are driven together.
        """
        return of_inverse_rows(self.layer)

    @cached_property
    def log_det(self) -> LogDeterminant:
        r"""How :math:`\log|\det J|` moves, at every width."""
        return LogDeterminant.of(self.layer)

    @cached_property
    def volumes(self) -> Isotropic:
        """Growth of the volumes of k tangents, where their rates are constant: the Lyapunov spectrum and Gaussian laws.

        Raises
        ------
        NotClosed
            If the rates depend on the state.
        """
        return Isotropic.of(self.layer)

    def lyapunov(self, k: object = None) -> sp.Expr:
        """The k-th Lyapunov exponent, from the largest; by default as a formula in ``k``.

        Raises
        ------
        NotClosed
            If volumes do not grow at constant rates.
        """
        return self.volumes.exponent(sp.Symbol("k", integer=True, positive=True) if k is None else k)

    @property
    def growth(self) -> sp.Expr:
        r"""The rate at which the mean square of a tangent grows, and so that of a gradient, a random vector times J.

        For :math:`g \sim N(0, I/n)`, independent of the network,
        :math:`\mathbb{E}\,\|J^\top g\|^2 = \frac1n\mathbb{E}\,\|J\|_F^2 = \mathbb{E}\,\|J g\|^2`.
        Where it depends on the state or the tangent, it holds sums over the neurons.
        """
        return self.layer.growth

    def limit(self, columns: int | None = None) -> NeuronDiffusion | Diffusion:
        r"""The joint limit of a neuron's state and its row of some columns of J, by default of all, for simulation.

        Raises
        ------
        DerivationError
            If the width is a symbol and ``columns`` is not given.
        """
        if columns is None:
            if not self.layer.size.is_Integer:
                raise DerivationError(f"of width {self.layer.size} the Jacobian has no number of columns; say columns=")
            columns = int(self.layer.size) * self.layer.positions
        return tangent_limit(self.layer.program, columns)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Named steps, each with its statement, expressions and reason."""
        return tuple(steps(self))

    @property
    def title(self) -> str:
        """What was derived, in a few words."""
        return f"Jacobian of {type(self.network).__name__}, width {self.network.width}"

    def latex(self) -> str:
        """As LaTeX paragraphs, to paste into a document with amsmath."""
        return latex.body(self.steps)

    def typst(self) -> str:
        """As Typst sections."""
        return typst.body(self.steps)

    def to_json(self) -> str:
        """As JSON."""
        return data.document(self.title, self.steps)

    def _repr_latex_(self) -> str:
        """The equations, for notebooks."""
        lines = [line for step in self.steps for line in step.lines if step.is_result]
        return f"$\\displaystyle {latex.aligned(tuple(lines))}$"

    def __str__(self) -> str:
        return text.document(self.title, self.steps)

    def write(self, path: str | Path) -> Path:
        """Write it to a file, in the format that its suffix names: .tex, .typ, .txt or .json.

        Raises
        ------
        DerivationError
            For another suffix.
        """
        path = Path(path)
        formats = {".tex": latex.document, ".typ": typst.document, ".txt": text.document, ".json": data.document}
        if path.suffix not in formats:
            raise DerivationError(
                f"unknown suffix {path.suffix!r} of {path.name}; name a file that ends in one of {', '.join(formats)}"
            )
        write_whole(path, formats[path.suffix](self.title, self.steps).encode())
        return path


def jacobian(network: Recipe) -> Jacobian:
    r"""Derive how the derivative of a network in its input moves with depth.

    The differential of a layer is a layer with the same matrices. Its mean and covariance given the state are derived by the elimination
    that gives the limit of the states, and Itô's formula gives the determinant, the inverse and volumes. For
    :math:`x' = x + \varphi(W\psi(x))` with shrinking weights,

    .. math:: \mathrm{d}J_{ik} = \varphi''(0)\tfrac{\sigma_w^2}{n}\sum_j\psi_j\psi_j'J_{jk}\,\mathrm{d}t
              + \varphi'(0)\sum_j \mathrm{d}W_{ij}\,\psi_j'J_{jk} .

    Parameters
    ----------
    network : Recipe
        With one input, and a width that is a number or a symbol. A small parameter that the recipe ties to the width is free.

    Returns
    -------
    Jacobian
        ``.sde``, ``.inverse``, ``.log_det``, ``.volumes``, ``.lyapunov(k)``, and ``.limit()`` for simulation.

    Raises
    ------
    DerivationError
        For several inputs or an infinite width, and where a function of the network jumps.
    NoLimit
        If the network has no limit of infinite depth.

    Examples
    --------
    >>> from derivations import Network, Weights, epsilon, relu, symbols
    >>> A, B = Weights("A"), Weights("B", out=8)
    >>> j = jacobian(Network(lambda x: x + epsilon * A(relu(B(x))), width=symbols.width))
    >>> j.log_det.drift, j.log_det.rate, j.lyapunov(1)
    (-1/4, 1/2, (n - 2)/(4*n))
    """
    if not isinstance(network, Recipe):
        raise DerivationError(f"jacobian expects a network such as ResNet(relu, width=3), got {network!r}")
    if network.inputs != 1 or network.width == sp.oo:
        raise DerivationError(
            f"the Jacobian is derived for one input at a finite or symbolic width, got {network.inputs} inputs and width {network.width}; "
            "at infinite width gradients follow derivations.backward.gradient_flow"
        )
    return Jacobian(with_free_time(network))
