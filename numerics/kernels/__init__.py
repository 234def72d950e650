r"""Kernel matrices of infinitely wide, infinitely deep networks, by integrating the derived flows with error control.

``means`` evaluates the Gaussian means, ``derived`` integrates the derived flow of any recipe pair by pair. Of recipes with one matrix
``correlation`` solves positively homogeneous ones by a map of the correlation alone, ``pairs`` integrates the other dense ones, ``grid``
convolutional ones all together.
"""

from numerics.kernels.matrix import Kernels, kernel_matrices, kernel_matrix

__all__ = ["Kernels", "kernel_matrices", "kernel_matrix"]
