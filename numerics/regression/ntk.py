"""The fully trained network."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from derivations.architectures import Recipe
from numerics.kernels import Kernels
from numerics.regression.base import Array, KernelRegressor
from numerics.regression.factors import Factor, Flow, factor


class NTKRegressor(KernelRegressor):
    r"""The *fully trained* network: gradient flow on the squared error for a training time, over the initialisation.

    With :math:`\Theta` and K of the training inputs, :math:`\Theta_*, K_*` crossed, and the flow
    :math:`\dot f = -\Theta(f - y)`, after a training time τ the network's output is Gaussian with
    :math:`A = \Theta_*\Theta^{-1}(1 - e^{-\tau\Theta})`, mean :math:`Ay` and covariance
    :math:`K_{**} - AK_*^\top - K_*A^\top + AKA^\top`. For :math:`\tau = \infty` that is kernel regression with :math:`\Theta`.
    Factors that layers draw, as dropout does, are drawn anew at each step and for each new input: the mean is over them, kernels with the
    training inputs are those between independent factors, and :math:`K_{**}` holds what one drawing adds.

    Parameters
    ----------
    architecture : Recipe
        With ``width=oo``.
    t : float
        Depth.
    noise : float
        Added to the diagonal of Θ: a ridge (early in training it changes little).
    tolerance : float
        Of the kernels.
    training_time : float
        τ ≥ 0 in units of the inverse learning rate: 0 is the network before training, ``inf`` trained to the end.
    channels : {"first", "last"}
        Whether sequences are (m, channels, tokens) or (m, tokens, channels), as in PyTorch.

    Attributes
    ----------
    jitter_ : float
        What had to be added to the diagonal of Θ; 0 in good order, otherwise also warned of.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> model = NTKRegressor(ResNet(relu, width=float("inf")), noise=0.0).fit([[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0])
    >>> model.predict([[1.0, 0.0], [1.0, 1.0]]).round(8) + 0.0
    array([1., 0.])
    """

    _tangent = True

    def __init__(
        self,
        architecture: Recipe,
        t: float = 1.0,
        noise: float = 1e-6,
        tolerance: float = 1e-9,
        training_time: float = np.inf,
        channels: str = "first",
    ) -> None:
        super().__init__(architecture, t, noise, tolerance, channels)
        self.training_time = training_time

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Factor the tangent kernel of the training inputs; parameters as in :meth:`NNGPRegressor.fit`."""
        given, labels = self._checked(X, y)
        if not self.training_time >= 0:
            raise ValueError(f"training_time must be a number ≥ 0, got {self.training_time}")
        kernels = self._kernels(given)
        assert kernels.ntk is not None
        tangent = kernels.ntk + self.noise * np.eye(len(given))
        self._trained: Factor | Flow
        if np.isinf(self.training_time):
            self._trained = factor(tangent, "the tangent kernel of the training inputs")
        else:
            self._trained = Flow.of(tangent, self.training_time)
        self.jitter_ = self._trained.jitter
        self._weights, self._kernel, self.X_train_ = self._trained.solve(labels), kernels.nngp, given
        return self

    def _mean(self, crossed: Kernels) -> Array:
        assert crossed.ntk is not None
        return crossed.ntk @ self._weights

    def _covariance(self, prior: Array, crossed: Kernels) -> Array:
        assert crossed.ntk is not None
        moved = self._trained.solve(crossed.ntk.T).T  # A, since (1 - exp(-τΘ))/Θ is symmetric
        passed = moved @ crossed.nngp.T
        return prior - passed - passed.T + moved @ self._kernel @ moved.T
