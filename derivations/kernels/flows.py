r"""The two kernels of an infinitely wide and deep network as flows in depth."""

from __future__ import annotations

import sympy as sp

from derivations.activations.base import Activation
from derivations.architectures.base import Recipe
from derivations.diffusion import Flow
from derivations.kernels.means import slope_of
from derivations.language.statements import Back, Matrix, Mean, Mix, Program
from derivations.limits import width_limit
from derivations.limits.tangents import tangent_flow
from derivations.symbols import state, step


def nngp(architecture: Recipe) -> Flow:
    r"""The flow of the Gaussian-process kernel :math:`K_{\alpha\beta} = \mathbb{E}\,X^\alpha X^\beta`, and of the means if they move.

    An infinitely wide network at initialisation is a Gaussian process over its inputs; with a readout of independent
    centred weights its covariance is K.

    Examples
    --------
    >>> from derivations import ShrinkingResNet, identity, tanh
    >>> nngp(ShrinkingResNet(tanh, identity, width=sp.oo)).drift
    Matrix([[K]])
    """
    return width_limit(architecture)


def ntk(architecture: Recipe) -> Flow:
    r"""The flow of the neural tangent kernel :math:`\Theta`, together with that of K.

    :math:`\Theta_{\alpha\beta} = \sum_\theta \partial_\theta X_i^\alpha\,\partial_\theta X_i^\beta` over all weights and biases
    written as :math:`W_{ij} = \sigma_w\omega_{ij}/\sqrt n`, :math:`b_i = \sigma_b\beta_i` with :math:`\omega, \beta` of unit variance.

    *Derivation.* The second moment of a tangent whose parameters move at random, :func:`~derivations.limits.tangents.tangent_flow`.
    Written out for one matrix: differentiate the layer :math:`x' = f(x, u, m, \varepsilon)`. Its own parameters give
    :math:`f_u^\alpha f_u^\beta\,G_{\alpha\beta}`; those of the layers before pass through the Jacobian
    :math:`f_x\delta_{ij} + f_u W_{ij}\psi'(x_j) + f_m\tfrac{\mu_w}{n}\psi'(x_j)`, and since the weights are fresh and independent,

    .. math:: \Theta'_{\alpha\beta} = f_x^\alpha f_x^\beta\,\Theta_{\alpha\beta} + f_u^\alpha f_u^\beta\bigl(G_{\alpha\beta}
              + \sigma_w^2\,\mathbb{E}[\psi'(X^\alpha)\psi'(X^\beta)]\,\Theta_{\alpha\beta}\bigr);

    what couples different neurons is a sum of n terms of size :math:`n^{-2}` and vanishes. Then :math:`\dot\Theta` is the
    coefficient of :math:`\varepsilon^2`.

    Returns
    -------
    Flow
        In the states of :func:`nngp` and then the upper triangle of :math:`\Theta`, row by row.

    Examples
    --------
    >>> from derivations import ShrinkingResNet, identity, tanh
    >>> ntk(ShrinkingResNet(tanh, identity, width=sp.oo)).drift
    Matrix([
    [        K],
    [K + Theta]])
    """
    program = architecture.program()
    require_slopes(program)
    return tangent_flow(program, architecture.coordinates)


def keeps_zero(program: Program) -> bool:
    r"""Whether a layer without noise of its own puts out 0 for the input 0: functions are 0 there, and there are no biases.

    The flow of K does not tell for a function that jumps at 0: :math:`\mathbb{E}\,\mathrm{sign}(\sqrt K Z)^2 = 1` for every K > 0.

    Examples
    --------
    >>> from derivations import PreNormResNet, ResNet, parse_activation, relu, sigmoid
    >>> keeps_zero(ResNet(parse_activation("sign(x)"), width=4).program()), keeps_zero(ResNet(sigmoid, width=4).program())
    (True, False)
    >>> formula = parse_activation("max(x**2 - 1, 0)")
    >>> keeps_zero(PreNormResNet(relu, width=4).program()), keeps_zero(PreNormResNet(formula, width=4).program())  # 0/0
    (False, False)
    """
    values: dict[sp.Symbol, sp.Expr] = {state: sp.S.Zero}

    def at_zero(body: sp.Expr) -> sp.Expr:
        try:
            return body.xreplace(values)
        except (TypeError, ValueError):  # cases, or a maximum, of 0/0, where a norm is 0
            return sp.nan

    for s in program.statements:
        if isinstance(s, Matrix | Back):
            plain = s.weights.bias_variance == 0 and s.weights.bias_mean == 0
            if plain and at_zero(s.body) == 0:
                values[s.symbol] = sp.S.Zero
        elif isinstance(s, Mean | Mix):
            values[s.symbol] = at_zero(s.body)
    return bool(at_zero(program.update) == 0)


def require_slopes(program: Program, what: str = "tangent kernel") -> None:
    """Refuse programs whose tangent kernel, or what else needs squares of slopes, is infinite.

    Raises
    ------
    DerivationError
        If a function of a neuron jumps, or the mean of its squared derivative diverges.
    """
    averages = {s.symbol: sp.S.One for s in program.statements if isinstance(s, Mean)}  # norms are positive numbers
    bodies = [s.body for s in program.statements if isinstance(s, Matrix | Mean | Mix)]
    for body in (*bodies, program.update):
        factors: dict[frozenset[sp.Basic], sp.Expr] = {}  # of one neuron together: sin(x)/x is smooth, and 1/x is not
        for factor in sp.Mul.make_args(body.xreplace(averages)):
            neurons = frozenset(factor.free_symbols - {step}) & _neurons(program)
            factors[neurons] = factors.get(neurons, sp.S.One) * factor
        for neurons, factor in factors.items():
            if len(neurons) == 1 and not factor.is_polynomial(*neurons):
                function = factor.xreplace({next(iter(neurons)): state})
                slope_of(Activation(str(function), function), what)


def _neurons(program: Program) -> set[sp.Symbol]:
    return {state, *(s.symbol for s in program.statements), *dict(program.others)}
