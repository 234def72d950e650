"""Backward: Jacobians, gradients and volumes of tangents, by the elimination that gives the limits of the states."""

from derivations.backward.equation import MatrixEquation
from derivations.backward.front import Jacobian, jacobian
from derivations.backward.infinite import GRADIENT, gradient_flow
from derivations.backward.volume import Isotropic, LogDeterminant

__all__ = ["GRADIENT", "Isotropic", "Jacobian", "LogDeterminant", "MatrixEquation", "gradient_flow", "jacobian"]
