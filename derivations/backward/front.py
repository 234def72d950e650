r"""The front door: the Jacobian of a network, its inverse, its determinant and the volumes of tangents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.architectures.network import with_free_time
from derivations.backward.differential import LayerDifferential
from derivations.backward.equation import MatrixEquation, of_columns, of_inverse_rows
from derivations.backward.infinite import gradient_flow
from derivations.backward.kernel_law import KernelLaw
from derivations.backward.kernel_moments import KernelMoments
from derivations.backward.tangents import TangentGram, tangent_gram
from derivations.backward.unlike import UnlikeLogDeterminant, covariances_of
from derivations.backward.volume import Isotropic, LogDeterminant
from derivations.backward.weights import weight_gradients
from derivations.backward.words import steps, unlike_steps, wide_steps
from derivations.diffusion import Diffusion, Flow, NeuronDiffusion
from derivations.errors import DerivationError, NotClosed, require, unknown
from derivations.kernels.flows import require_slopes as require_square_slopes
from derivations.language import Program
from derivations.language.few import of_one_moving_neuron
from derivations.language.statements import Shares
from derivations.limits.slopes import require_real, require_slopes
from derivations.limits.tangents import tangent_limit
from derivations.notation.printed import Printed
from derivations.notation.steps import Step


@dataclass(frozen=True, repr=False)
class Jacobian(Printed):
    r"""The Jacobian :math:`J_t = \partial X_t/\partial X_0` of a network of infinite depth at a fixed width.

    Attributes
    ----------
    network : Recipe
        With one input.
    sde : MatrixEquation
        Of J, column by column.
    log_det : LogDeterminant or UnlikeLogDeterminant
        Of :math:`\log|\det J|`.
    """

    network: Recipe

    def __post_init__(self) -> None:
        require("the network", self.network, Recipe, "a recipe such as ResNet(relu, width=2)")

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
    def log_det(self) -> LogDeterminant | UnlikeLogDeterminant:
        r"""How :math:`\log|\det J|` moves, at every width; written out for all neurons where these are not alike."""
        program = self.network.program()
        return UnlikeLogDeterminant(program) if covariances_of(program) else LogDeterminant.of(self.layer)

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
        program = self.network.program()
        if columns is None:
            if not program.neurons.size.is_Integer:
                raise DerivationError(
                    f"of width {program.neurons.size} the Jacobian has no number of columns; say columns="
                )
            columns = int(program.neurons.size) * program.positions
        return tangent_limit(program, columns)

    @cached_property
    def gram(self) -> TangentGram:
        """The Gram matrix of the state and tangents, a diffusion by itself at every width.

        Raises
        ------
        NotClosed
            If it needs other averages of the state.
        """
        return tangent_gram(self.network)

    @cached_property
    def kernel(self) -> KernelMoments:
        """Mean and fluctuation of the tangent kernel of one input.

        Raises
        ------
        NotClosed
            If its moments do not close.
        """
        return KernelMoments(self.gram)

    @cached_property
    def kernel_law(self) -> KernelLaw:
        """The law of the tangent kernel of one output, as a process that goes forward with the state and back with the gradient.

        Raises
        ------
        NotClosed
            If the Gram matrix of state and tangents does not close.
        """
        return KernelLaw(self.gram)

    @cached_property
    def weight_gradients(self) -> dict[str, sp.Expr | sp.ImmutableMatrix]:
        r"""Of each matrix a function :math:`q` of a neuron's state: gradients in a layer's weights have :math:`\sum_i q_i G_i^2` as squared norm.

        Over positions a matrix of them: :math:`\sum_i\sum_{ab} q_{ab}\,G_i^a G_i^b`.

        Weights are in units of their standard deviations, those of a matrix hold its biases, and the squares are added up over the layers of a
        unit of time; G is the gradient in the layer, which moves as a row of :attr:`inverse`. Averages over the state are in angle brackets.

        Raises
        ------
        NotClosed
            If gradients of several neurons meet in one weight's.
        """
        return weight_gradients(self.network)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Named steps, each with its statement, expressions and reason."""
        return tuple((unlike_steps if covariances_of(self.network.program()) else steps)(self))

    @property
    def title(self) -> str:
        """What was derived, in a few words."""
        return f"Jacobian of {type(self.network).__name__}, width {self.network.width}"


@dataclass(frozen=True, repr=False)
class WideJacobian(Printed):
    r"""Tangents and gradients of a network whose width grows, before its depth or together with it.

    Attributes
    ----------
    network : Recipe
        With one input.
    order : str
        ``"joint"`` or ``"width"``.
    """

    network: Recipe
    order: str

    @cached_property
    def gram(self) -> TangentGram:
        """The Gram matrix of the state and tangents, where depth and width grow together.

        Raises
        ------
        DerivationError
            At infinite width, where it is :attr:`process`.
        """
        if self.order == "width":
            raise DerivationError(
                "at infinite width the state and its tangents are independent; their flow is .process"
            )
        return tangent_gram(self.network, self.order)

    @cached_property
    def process(self) -> Diffusion | Flow:
        r"""Squared norms: of the state and a tangent with their product, or at infinite width K and the mean square of a gradient."""
        return gradient_flow(self.network) if self.order == "width" else self.gram.process

    @cached_property
    def kernel(self) -> KernelMoments:
        """Mean and fluctuation of the tangent kernel of one input, where depth and width grow together."""
        return KernelMoments(self.gram)

    @cached_property
    def kernel_law(self) -> KernelLaw:
        """The law of the tangent kernel of one output, where depth and width grow together."""
        return KernelLaw(self.gram)

    def lyapunov(self, k: object = None) -> sp.Expr:
        """The k-th Lyapunov exponent per unit of time, from the largest; by default as a formula in ``k``.

        Raises
        ------
        NotClosed
            If volumes do not grow at constant rates.
        """
        return self.gram.exponent(sp.Symbol("k", integer=True, positive=True) if k is None else k)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Named steps, each with its statement, expressions and reason."""
        return tuple(wide_steps(self))

    @property
    def title(self) -> str:
        """What was derived, in a few words."""
        how = "infinite width, then depth" if self.order == "width" else "depth and width together"
        return f"Tangents and gradients of {type(self.network).__name__}: {how}"


def jacobian(network: Recipe, order: str | None = None) -> Jacobian | WideJacobian:
    r"""Derive how the derivative of a network in its input moves with depth.

    The differential of a layer is a layer with the same matrices. Its mean and covariance given the state are derived by the elimination
    that gives the limit of the states, and Itô's formula gives the determinant, the inverse and volumes. For
    :math:`x' = x + \varphi(W\psi(x))` with shrinking weights,

    .. math:: \mathrm{d}J_{ik} = \varphi''(0)\tfrac{\sigma_w^2}{n}\sum_j\psi_j\psi_j'J_{jk}\,\mathrm{d}t
              + \varphi'(0)\sum_j \mathrm{d}W_{ij}\,\psi_j'J_{jk} .

    Parameters
    ----------
    network : Recipe
        With one input.
    order : {"depth", "width", "joint"}, optional
        As for :func:`~derivations.derive`. In ``"depth"`` a small parameter that the recipe ties to the width is free.

    Returns
    -------
    Jacobian or WideJacobian
        At a fixed width ``.sde``, ``.inverse``, ``.log_det``, ``.volumes``, ``.weight_gradients``, and ``.limit()`` for simulation; in every
        order ``.gram``, ``.lyapunov(k)`` and ``.kernel``.

    Raises
    ------
    DerivationError
        For several inputs or an unknown order, and where a function of the network jumps, is not real, or has a slope whose square has no mean.
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
    if network.inputs != 1:
        raise DerivationError(
            f"the Jacobian is derived for one input, got {network.inputs} inputs; replace inputs by 1"
        )
    if order is None:
        order = "joint" if network.regime.is_joint else "depth"
    if order not in ("depth", "width", "joint"):
        raise DerivationError(unknown("order", order, ("depth", "width", "joint")))
    if order == "joint":
        _require_tangents(network.scaled_program())
        return WideJacobian(network, order)
    if order == "width" or network.width == sp.oo:
        _require_tangents(replace(network, width=sp.oo).program())
        return WideJacobian(network, "width")
    free = with_free_time(network)
    if any(isinstance(s, Shares) for s in free.program().statements):
        raise NotClosed(
            "tangents through a softmax are derived at infinite width: at a fixed width the derivative of the shares holds scores of the state and of its "
            "tangent, whose law together has no closed form; take width=oo, or follow networks by simulate_jacobian"
        )
    _require_tangents(free.program())
    return Jacobian(free)


def _require_tangents(program: Program) -> None:
    """Functions are real, do not jump, and have slopes whose squares have a mean: tangents of neurons that pass a point where they have none explode."""
    require_real(program)
    require_slopes(program)
    require_square_slopes(program, "Jacobian")
    try:
        require_square_slopes(of_one_moving_neuron(program), "Jacobian")
    except DerivationError as error:
        raise DerivationError(
            "an average over one neuron or two leaves a jump, as a norm of one neuron leaves its sign and a layer norm of two that of their difference: "
            "its slope does not exist there, so a layer's derivative does not say how the network moves; take more neurons"
        ) from error
