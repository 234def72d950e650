"""What the two estimators share: parameters, checks and the form of a prediction, all by scikit-learn's own base classes."""

from __future__ import annotations

from abc import abstractmethod
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derivations.architectures import Recipe
from numerics.kernels import Kernels, kernel_matrices
from numerics.kernels.matrix import LEAST_TOLERANCE, channels_first, steps_meet
from numerics.regression.redrawn import kernels_between

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator, RegressorMixin
else:
    try:
        from sklearn.base import BaseEstimator, RegressorMixin
    except ImportError:

        class RegressorMixin:
            """Where scikit-learn is missing the estimators can be named, but not made."""

        class BaseEstimator:
            """Where scikit-learn is missing the estimators can be named, but not made."""

            def __new__(cls, *_: Any, **__: Any) -> NoReturn:  # noqa: D102
                raise ImportError(f'{cls.__name__} needs scikit-learn; pip install "deeplimits[sklearn]"')


Array = NDArray[np.float64]

_LARGEST = 1e150  # label, whose square a double holds with room for the inverse of a kernel


class KernelRegressor(RegressorMixin, BaseEstimator):
    """An estimator by the kernels of an infinitely wide network."""

    _tangent = False  # whether a prediction needs the tangent kernel
    _weights: Array  # of the training inputs in a mean, shape (m, outputs)
    _unit: float  # a kernel's entry by the largest label

    def __init__(
        self,
        architecture: Recipe,
        t: float = 1.0,
        noise: float = 1e-6,
        tolerance: float = 1e-9,
        channels: str = "first",
    ) -> None:
        self.architecture, self.t, self.noise, self.tolerance = architecture, t, noise, tolerance
        self.channels = channels

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks an estimator for."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.three_d_array = bool(getattr(self.architecture, "positions", ()))
        return tags

    def predict(self, X: ArrayLike, return_std: bool = False, return_cov: bool = False) -> Any:
        """The mean at new inputs, with its standard deviations or covariance on request.

        Parameters
        ----------
        X : array, shape (m, dim), over positions (m, channels, positions...) or (m, positions..., channels)
            As ``channels`` says, or these in rows; as in the fit.
        return_std, return_cov : bool
            One of them at most.

        Returns
        -------
        mean : array, shape (m,) or (m, outputs)
        deviations : array, shape (m,) or (m, outputs)
            With ``return_std``; the same for all outputs.
        covariance : array, shape (m, m) or (m, m, outputs)
            With ``return_cov``.

        Raises
        ------
        ValueError
            If the estimator is not fitted, for inputs that do not look like those of the fit, and for both requests at once.
        """
        if return_std and return_cov:
            raise ValueError(
                "return_std and return_cov were both requested; ask for the covariance and read its diagonal"
            )
        given, crossed = self._crossed(X)
        mean = self._mean(crossed)
        labelled = mean[:, 0] if self._flat else mean
        if not (return_std or return_cov):
            return labelled
        covariance = self._covariance(self._prior(given), crossed)
        return labelled, self._each(covariance if return_cov else _deviations(covariance), mean.shape[1])

    def _each(self, shared: Array, outputs: int) -> Array:
        """What all outputs share, with an axis for them at the end unless the labels had none."""
        return shared if self._flat else np.repeat(shared[..., None], outputs, axis=-1)

    @abstractmethod
    def _mean(self, crossed: Kernels) -> Array:
        """The mean from the kernels of new inputs with the training inputs, shape (m, outputs)."""

    @abstractmethod
    def _covariance(self, prior: Array, crossed: Kernels) -> Array:
        """The covariance from the kernel of new inputs and theirs with the training inputs, shape (m, m)."""

    def _kernels(self, given: Array) -> Kernels:
        """Both kernels of the training inputs."""
        return kernels_between(self.architecture, given, given, self.t, self.tolerance, tangent=self._tangent)

    def _prior(self, given: Array) -> Array:
        """The NNGP kernel of some inputs."""
        return kernel_matrices(self.architecture, given, self.t, tolerance=self.tolerance, tangent=False).nngp

    def _checked(self, X: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """Inputs and labels, shape (m, outputs), copied, so that what the caller does to them later changes nothing."""
        from sklearn.utils.validation import validate_data

        if not isinstance(self.architecture, Recipe):
            raise ValueError(f"architecture must be a recipe such as ResNet(relu, width=oo), got {self.architecture!r}")
        if not (np.isfinite(self.noise) and self.noise >= 0):
            raise ValueError(f"noise must be a variance, finite and at least 0, got {self.noise}")
        given, labels = validate_data(
            self, X, y, dtype=np.float64, copy=True, allow_nd=True, multi_output=True, y_numeric=True
        )
        labels = np.array(labels, dtype=float)
        if (largest := float(np.abs(labels).max())) > _LARGEST:
            raise ValueError(
                f"y must hold labels of at most {_LARGEST:g}, whose squares a double holds, got {largest:.3g}; scale the labels"
            )
        self._unit = float(np.mean(given**2)) / (largest or 1.0)
        self._flat = labels.ndim == 1
        return self._on_grid(given), labels.reshape(len(labels), -1)

    def _on_grid(self, given: Array) -> Array:
        """Inputs of a network over positions with channels first; they may come one a row, as scikit-learn's pipelines have them."""
        grid = self.architecture.positions
        if not grid:
            return given
        last = self.channels == "last"
        if given.ndim == 2 and given.shape[1] % prod(grid) == 0:
            given = given.reshape(len(given), *((*grid, -1) if last else (-1, *grid)))
        if given.ndim != 2 + len(grid) or given.shape[1 : -1 if last else None][-len(grid) :] != grid:
            raise ValueError(
                f"X must have shape {self._shape}, or that with all but m in one axis, got shape {given.shape}"
            )
        return channels_first(given, self.channels)

    @property
    def _shape(self) -> str:
        places = list(map(str, self.architecture.positions))
        named = [*places, "channels"] if self.channels == "last" else ["channels", *places]
        return f"(m, {', '.join(named)})"

    def _crossed(self, X: ArrayLike) -> tuple[Array, Kernels]:
        from sklearn.utils.validation import check_is_fitted, validate_data

        check_is_fitted(self, "X_train_")
        given = self._on_grid(validate_data(self, X, reset=False, dtype=np.float64, allow_nd=True))
        if given.shape[1:] != self.X_train_.shape[1:]:
            raise ValueError(f"X must have the {self.X_train_.shape[1]} channels of the fit, got {given.shape[1]}")
        return given, kernels_between(
            self.architecture, given, self.X_train_, self.t, self._share(), tangent=self._tangent
        )

    def _share(self) -> float:
        """The tolerance of a kernel entry with which a mean, a sum of many with weights of both signs, does not tell which inputs stand beside."""
        if not steps_meet(self.architecture, self._tangent):
            return self.tolerance
        amplified = float(np.abs(self._weights).sum(axis=0).max(initial=0.0)) * self._unit
        return min(self.tolerance, max(LEAST_TOLERANCE, self.tolerance / max(amplified, 1.0)))


def _deviations(covariance: Array) -> Array:
    """Roots of a diagonal, on which rounding may have left a negative zero."""
    result: Array = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return result
