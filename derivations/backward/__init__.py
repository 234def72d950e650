"""Backward: Jacobians, gradients and volumes of tangents, by the elimination that gives the limits of the states."""

from derivations.backward.equation import MatrixEquation
from derivations.backward.front import Jacobian, WideJacobian, jacobian
from derivations.backward.infinite import GRADIENT, adjoint_flow, gradient_flow, weight_gradient_flow
from derivations.backward.kernel_law import KernelLaw
from derivations.backward.kernel_moments import KernelMoments, tangent_kernel
from derivations.backward.tangents import TangentGram, tangent_gram
from derivations.backward.unlike import UnlikeLogDeterminant
from derivations.backward.volume import Isotropic, LogDeterminant

__all__ = [
    "GRADIENT",
    "Isotropic",
    "Jacobian",
    "KernelLaw",
    "KernelMoments",
    "LogDeterminant",
    "MatrixEquation",
    "TangentGram",
    "UnlikeLogDeterminant",
    "WideJacobian",
    "adjoint_flow",
    "gradient_flow",
    "jacobian",
    "tangent_gram",
    "tangent_kernel",
    "weight_gradient_flow",
]
