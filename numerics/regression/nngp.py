"""The weakly trained network."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from numerics.kernels import Kernels
from numerics.regression.base import Array, KernelRegressor
from numerics.regression.factors import factor


class NNGPRegressor(KernelRegressor):
    r"""Gaussian-process regression with the NNGP kernel: the *weakly trained* network, of which only the readout is trained.

    With K of the training inputs, :math:`K_*` crossed with new ones and labels y with noise of variance s,
    the posterior has mean :math:`K_*(K + s)^{-1}y` and covariance :math:`K_{**} - K_*(K + s)^{-1}K_*^\top`. Factors that layers draw, as
    dropout does, are drawn anew at each step and for each new input: the mean is over them, and the deviations hold what they add.

    Parameters
    ----------
    architecture : Recipe
        With ``width=oo``.
    t : float
        Depth.
    noise : float
        s ≥ 0, a variance.
    tolerance : float
        Of the kernel.
    channels : {"first", "last"}
        Whether sequences are (m, channels, tokens) or (m, tokens, channels), as in PyTorch.

    Attributes
    ----------
    jitter_ : float
        What had to be added to the kernel's diagonal; 0 in good order, otherwise also warned of.
    log_marginal_likelihood_ : float
        Of the labels, summed over outputs.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> model = NNGPRegressor(ResNet(relu, width=float("inf")), noise=0.0).fit([[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0])
    >>> model.predict([[1.0, 0.0], [1.0, 1.0]]).round(8) + 0.0
    array([1., 0.])
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Factor the kernel of the training inputs.

        Parameters
        ----------
        X : array, shape (m, dim), over positions (m, channels, positions...) or (m, positions..., channels) as ``channels`` says, or these in rows
            Finite and real; copied. An input of norm 0 is allowed where the network does not divide by it, as a norm does.
        y : array, shape (m,) or (m, outputs)

        Raises
        ------
        ValueError
            For parameters and data that do not fit, and kernels that are not positive semi-definite.
        """
        given, labels = self._checked(X, y)
        self._factor = factor(
            self._kernels(given).nngp + self.noise * np.eye(len(given)), "the NNGP kernel of the training inputs"
        )
        self._weights = self._factor.solve(labels)
        self.X_train_, self.jitter_ = given, self._factor.jitter
        logdet = 2.0 * np.sum(np.log(np.diag(self._factor.lower)))
        each = -0.5 * np.sum(labels * self._weights, axis=0) - 0.5 * (logdet + len(given) * np.log(2 * np.pi))
        self.log_marginal_likelihood_ = float(each.sum())
        return self

    def _mean(self, crossed: Kernels) -> Array:
        return crossed.nngp @ self._weights

    def _covariance(self, prior: Array, crossed: Kernels) -> Array:
        return prior - crossed.nngp @ self._factor.solve(crossed.nngp.T)
