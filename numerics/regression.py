r"""Inference with the kernels of infinitely wide networks: Gaussian-process and neural-tangent regression.

Both follow scikit-learn's estimator conventions (``get_params``, ``set_params``, ``fit``, ``predict(return_std=True)``,
``score``), which they speak without importing it: they work in its ``Pipeline`` and ``cross_val_score``, and without it.
"""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_solve, cholesky, eigh

from derivations.architectures import Architecture
from numerics.kernels import Kernels, kernel_matrices

Array = NDArray[np.float64]


class JitterWarning(UserWarning):
    """A kernel matrix was not positive definite to rounding, and a multiple of the identity was added."""


@dataclass(frozen=True)
class Factor:
    """A Cholesky factor, and what had to be added to the diagonal to have one."""

    lower: Array
    jitter: float

    def solve(self, right: Array) -> Array:
        """The solution of a linear system."""
        result: Array = cho_solve((self.lower, True), right)
        return result


@dataclass(frozen=True)
class Flow:
    r"""The eigenvectors of a kernel :math:`\Theta` and the gains :math:`(1 - e^{-\tau\Theta})/\Theta`, finite where it is singular."""

    vectors: Array
    gains: Array
    jitter: float = 0.0

    @classmethod
    def of(cls, kernel: Array, training_time: float) -> Flow:
        """Diagonalise; eigenvalues that rounding made negative count as 0."""
        values, vectors = eigh(kernel)
        safe = np.where(values > 0, values, 1.0)
        return cls(vectors, np.where(values > 0, -np.expm1(-training_time * safe) / safe, training_time))

    def solve(self, right: Array) -> Array:
        """What a training time does instead of the solution of a linear system."""
        result: Array = self.vectors @ (self.gains[:, None] * (self.vectors.T @ right))
        return result


def factor(matrix: Array, what: str, steps: int = 6) -> Factor:
    """Cholesky's factor of a symmetric matrix, with the least of a few jitters that makes it positive definite.

    Jitter starts at 1e-14 of the mean diagonal and grows by a factor of 100; any at all is warned of.

    Raises
    ------
    ValueError
        If the matrix is not positive semi-definite beyond rounding.
    """
    scale = float(np.mean(np.diag(matrix)))
    for jitter in (0.0, *(scale * 1e-14 * 100.0**k for k in range(steps))):
        try:
            lower = cholesky(matrix + jitter * np.eye(len(matrix)), lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            continue
        if jitter:
            warnings.warn(
                f"{what} is singular to rounding; {jitter:.1e} was added to its diagonal. "
                "Remove repeated inputs or set noise > 0",
                JitterWarning,
                stacklevel=3,
            )
        return Factor(lower, jitter)
    raise ValueError(
        f"{what} is not positive semi-definite: Cholesky fails even with {scale * 1e-14 * 100.0 ** (steps - 1):.1e} on the diagonal; "
        "check the inputs, or set noise > 0"
    )


class _KernelRegressor(ABC):
    """What the two estimators share: parameters, checks, the form of a prediction and the score."""

    _estimator_type = "regressor"
    _tangent = False  # whether a prediction needs the tangent kernel
    architecture: Architecture
    t: float
    noise: float
    tolerance: float

    def __init__(
        self, architecture: Architecture, t: float = 1.0, noise: float = 1e-6, tolerance: float = 1e-9
    ) -> None:
        self.architecture, self.t, self.noise, self.tolerance = architecture, t, noise, tolerance

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments, by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **parameters: Any) -> Self:
        """Change arguments by name."""
        known = self.get_params()
        for name, value in parameters.items():
            if name not in known:
                raise ValueError(f"{type(self).__name__} has the parameters {', '.join(known)}, got {name!r}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in self.get_params().items())})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks an estimator for, when it is there to ask."""
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True, multi_output=True),
            regressor_tags=RegressorTags(),
            input_tags=InputTags(),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "X_train_")

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The coefficient of determination R² of the prediction, the mean over outputs."""
        truth = np.asarray(y, dtype=float)
        guess: Array = np.asarray(self.predict(X))
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=float)
        error = np.average((truth - guess) ** 2, axis=0, weights=weights)
        spread = np.average((truth - np.average(truth, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
        return float(np.mean(1.0 - error / spread))

    def predict(self, X: ArrayLike, return_std: bool = False, return_cov: bool = False) -> Any:
        """The mean at new inputs, with its standard deviations or covariance on request."""
        given, crossed = self._crossed(X)
        mean = self._mean(crossed)
        labelled = mean[:, 0] if self._flat else mean
        if not (return_std or return_cov):
            return labelled
        covariance = self._covariance(self._prior(given), crossed)
        return labelled, covariance if return_cov else _deviations(covariance)

    @abstractmethod
    def _mean(self, crossed: Kernels) -> Array:
        """The mean from the kernels of new inputs with the training inputs, shape (m, outputs)."""

    @abstractmethod
    def _covariance(self, prior: Array, crossed: Kernels) -> Array:
        """The covariance from the kernel of new inputs and theirs with the training inputs, shape (m, m)."""

    def _prior(self, given: Array) -> Array:
        """The NNGP kernel of some inputs."""
        return kernel_matrices(self.architecture, given, self.t, tolerance=self.tolerance, tangent=False).nngp

    def _checked(self, X: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        given, labels = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
        if given.ndim < 2:
            raise ValueError(f"X must have shape (m, dim), one input a row, got shape {given.shape}")
        if labels.ndim not in (1, 2) or len(labels) != len(given):
            raise ValueError(f"y must have one row for each of the {len(given)} rows of X, got shape {labels.shape}")
        if not (np.all(np.isfinite(given)) and np.all(np.isfinite(labels))):
            raise ValueError("X and y must be finite")
        if not self.noise >= 0:
            raise ValueError(f"noise must be a variance, at least 0, got {self.noise}")
        self.n_features_in_ = given.shape[1]
        self._flat = labels.ndim == 1
        return given, labels.reshape(len(labels), -1)

    def _crossed(self, X: ArrayLike) -> tuple[Array, Kernels]:
        if not hasattr(self, "X_train_"):
            raise ValueError(f"this {type(self).__name__} is not fitted yet; call fit(X, y) first")
        given = np.asarray(X, dtype=float)
        if given.ndim < 2 or given.shape[1:] != self.X_train_.shape[1:]:
            raise ValueError(
                f"X must have shape (m, {', '.join(map(str, self.X_train_.shape[1:]))}), got {given.shape}"
            )
        return given, kernel_matrices(
            self.architecture, given, self.t, other=self.X_train_, tolerance=self.tolerance, tangent=self._tangent
        )


class NNGPRegressor(_KernelRegressor):
    r"""Gaussian-process regression with the NNGP kernel: the *weakly trained* network, of which only the readout is trained.

    With K of the training inputs, :math:`K_*` crossed with new ones and labels y with noise of variance s,
    the posterior has mean :math:`K_*(K + s)^{-1}y` and covariance :math:`K_{**} - K_*(K + s)^{-1}K_*^\top`.

    Parameters
    ----------
    architecture : Architecture
        With ``width=oo``.
    t : float
        Depth.
    noise : float
        s ≥ 0, a variance.
    tolerance : float
        Of the kernel.

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
        """Factor the kernel of the training inputs."""
        given, labels = self._checked(X, y)
        self._factor = factor(
            self._prior(given) + self.noise * np.eye(len(given)), "the NNGP kernel of the training inputs"
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


class NTKRegressor(_KernelRegressor):
    r"""The *fully trained* network: gradient flow on the squared error for a training time, over the initialisation.

    With :math:`\Theta` and K of the training inputs, :math:`\Theta_*, K_*` crossed, and the flow
    :math:`\dot f = -\Theta(f - y)`, after a training time τ the network's output is Gaussian with
    :math:`A = \Theta_*\Theta^{-1}(1 - e^{-\tau\Theta})`, mean :math:`Ay` and covariance
    :math:`K_{**} - AK_*^\top - K_*A^\top + AKA^\top`. For :math:`\tau = \infty` that is kernel regression with :math:`\Theta`.

    Parameters
    ----------
    architecture : Architecture
        With ``width=oo``.
    t : float
        Depth.
    noise : float
        Added to the diagonal of Θ: a ridge (early in training it changes little).
    tolerance : float
        Of the kernels.
    training_time : float
        τ > 0 in units of the inverse learning rate; ``inf`` for trained to the end.

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
        architecture: Architecture,
        t: float = 1.0,
        noise: float = 1e-6,
        tolerance: float = 1e-9,
        training_time: float = np.inf,
    ) -> None:
        super().__init__(architecture, t, noise, tolerance)
        self.training_time = training_time

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Factor the tangent kernel of the training inputs."""
        given, labels = self._checked(X, y)
        if not self.training_time > 0:
            raise ValueError(f"training_time must be positive, got {self.training_time}")
        kernels = kernel_matrices(self.architecture, given, self.t, tolerance=self.tolerance)
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


def _deviations(covariance: Array) -> Array:
    """Roots of a diagonal, on which rounding may have left a negative zero."""
    result: Array = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return result
