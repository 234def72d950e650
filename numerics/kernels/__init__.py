r"""Kernel matrices of infinitely wide, infinitely deep networks, by integrating the derived flows with error control.

``means`` evaluates the Gaussian means, ``derived`` the derived flow of a generic pair of inputs. ``correlation`` solves the flows that are one map
for all pairs, those of positively homogeneous and of linear networks; ``pairs`` integrates all others, over positions that meet in
filters too, and ``coupled`` those whose positions are summed over. ``nodes`` evaluates means without a closed form where other formulas hold them.
"""

from numerics.kernels.matrix import Kernels, kernel_matrices, kernel_matrix

__all__ = ["Kernels", "kernel_matrices", "kernel_matrix"]
