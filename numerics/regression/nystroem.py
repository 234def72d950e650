"""Kernel regression on more inputs than a kernel matrix has room for: scikit-learn's Nyström map of a kernel, and a ridge on it."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from derivations.architectures import Recipe
from derivations.errors import unknown
from numerics.ensembles.memory import require_memory
from numerics.kernels import Kernels
from numerics.kernels.matrix import KINDS
from numerics.regression.base import Array, KernelRegressor
from numerics.regression.factors import factor
from numerics.regression.redrawn import kernels_between

_BAND = 1000  # inputs whose features are held at once
_FEW = 128  # inputs whose kernel with each other is made for its diagonal


class NystroemRegressor(KernelRegressor):
    r"""The mean of :class:`NNGPRegressor` or :class:`NTKRegressor` from the kernel with some of the training inputs only.

    With C the kernel of all inputs with some of them and W that of these with each other, :math:`\hat K = CW^{-1}C^\top` stands for K:
    :class:`sklearn.kernel_approximation.Nystroem` chooses the inputs and makes features :math:`\Phi = CW^{-1/2}`, and the mean is
    :math:`\phi_*(\Phi^\top\Phi + s)^{-1}\Phi^\top y`. Memory and time grow like the number of inputs, not its square.

    Parameters
    ----------
    architecture : Recipe
        With ``width=oo``.
    t : float
        Depth.
    kind : {"ntk", "nngp"}
    components : int
        How many inputs the kernel is known with; all of them give the exact mean.
    noise : float
        s > 0, a variance.
    tolerance : float
        Of the kernel.
    random_state : int, RandomState or None
        Of the choice, as scikit-learn's.
    channels : {"first", "last"}
        Whether sequences are (m, channels, tokens) or (m, tokens, channels), as in PyTorch.

    Attributes
    ----------
    kernel_error_ : float
        What :math:`\hat K` lacks: trace(K − K̂) / trace(K) over the training inputs, to the kernel's tolerance. The largest eigenvalue of K − K̂ is at most
        that times trace(K).

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> model = NystroemRegressor(ResNet(relu, width=float("inf")), components=50, noise=0.01, random_state=0).fit(X, np.abs(X[:, 0]))
    >>> model.score(X, np.abs(X[:, 0])) > 0.9, model.kernel_error_ < 0.1
    (True, True)
    """

    def __init__(
        self,
        architecture: Recipe,
        t: float = 1.0,
        kind: str = "ntk",
        components: int = 500,
        noise: float = 1e-6,
        tolerance: float = 1e-9,
        random_state: Any = None,
        channels: str = "first",
    ) -> None:
        super().__init__(architecture, t, noise, tolerance, channels)
        self.kind, self.components, self.random_state = kind, components, random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Choose inputs, and solve for the weights of their features; parameters as in :meth:`NNGPRegressor.fit`.

        Raises
        ------
        ValueError
            For parameters and data that do not fit.
        MemoryError
            For features that do not.
        """
        from sklearn.kernel_approximation import Nystroem

        given, labels = self._checked(X, y)
        if self.kind not in KINDS:
            raise ValueError(unknown("kind", self.kind, KINDS))
        if not (isinstance(self.components, int | np.integer) and self.components >= 1):
            raise ValueError(f"components must be a whole number of inputs, at least 1, got {self.components!r}")
        if self.noise == 0:
            raise ValueError(
                "noise must be above 0 where the kernel is approximated, got 0; use NNGPRegressor or NTKRegressor"
            )
        count, some = len(given), min(self.components, len(given))
        require_memory(4 * some**2, f"features of {some} inputs take", "take fewer components")
        rows = given.reshape(count, -1)
        kernel = _kernel(self, given.shape[1:])
        chosen = Nystroem(kernel, n_components=some, random_state=self.random_state).fit(rows)
        gram, right, kept, whole = np.zeros((some, some)), np.zeros((some, labels.shape[1])), 0.0, 0.0
        for first in range(0, count, _BAND):
            band = slice(first, first + _BAND)
            features = chosen.transform(rows[band])
            gram += features.T @ features
            right += features.T @ labels[band]
            kept += float(np.sum(features**2))
            whole += float(np.sum(kernel.diag(rows[band])))
        solved = factor(gram + self.noise * np.eye(some), "the features of the training inputs")
        self._weights = chosen.normalization_.T @ solved.solve(right)
        self.kernel_error_ = max(0.0, 1.0 - kept / whole) if whole else 0.0
        self.X_train_ = chosen.components_.reshape(some, *given.shape[1:])
        return self

    def predict(self, X: ArrayLike) -> Array:  # type: ignore[override]
        """The mean at new inputs.

        Parameters
        ----------
        X : array, shape (m, dim), over positions as in the fit

        Returns
        -------
        array, shape (m,) or (m, outputs)

        Raises
        ------
        ValueError
            If the estimator is not fitted, and for inputs that do not look like those of the fit.
        """
        mean = self._mean(self._crossed(X)[1])
        return mean[:, 0] if self._flat else mean

    @property
    def _tangent(self) -> bool:  # type: ignore[override]
        return self.kind == "ntk"

    def _mean(self, crossed: Kernels) -> Array:
        kernel = crossed.nngp if crossed.ntk is None else crossed.ntk
        return kernel @ self._weights


def _kernel(model: NystroemRegressor, shape: tuple[int, ...]) -> Any:
    """The kernel as scikit-learn's Gaussian processes have theirs, of inputs in rows."""
    from sklearn.gaussian_process.kernels import Kernel

    class NetworkKernel(Kernel):
        def __call__(self, X: Array, Y: Array | None = None, eval_gradient: bool = False) -> Array:
            rows, columns = (np.reshape(Z, (len(Z), *shape)) for Z in (X, X if Y is None else Y))
            columns = rows if Y is None or Y is X else columns
            found = kernels_between(
                model.architecture, rows, columns, model.t, model.tolerance, tangent=model.kind == "ntk"
            )
            return found.nngp if found.ntk is None else found.ntk

        def diag(self, X: Array) -> Array:
            parts = [np.diag(self(X[k : k + _FEW])) for k in range(0, len(X), _FEW)]
            return np.concatenate(parts)

        def is_stationary(self) -> bool:
            return False

    return NetworkKernel()
