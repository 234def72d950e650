"""Finite networks, layer by layer: states, Gram matrices, angles, derivatives; knows no theory."""

from numerics.networks.drawings import DRAWINGS, AllWeights, Drawing, InLaw
from numerics.networks.initial import input_rows
from numerics.networks.records import RECORDS
from numerics.networks.short_names import simulate_collapse, simulate_gram, simulate_jacobian, simulate_tangent_kernel
from numerics.networks.simulate import BLOCK, finite_width, simulate_network

__all__ = [
    "BLOCK",
    "DRAWINGS",
    "RECORDS",
    "AllWeights",
    "Drawing",
    "InLaw",
    "finite_width",
    "input_rows",
    "simulate_collapse",
    "simulate_gram",
    "simulate_jacobian",
    "simulate_network",
    "simulate_tangent_kernel",
]
