r"""Machine-code twins of special functions of one number, for kernels: importing this file loads Numba.

SciPy's own routines are called by name through the linker, so that kernels which use them can be kept on disk.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from scipy.special import cython_special

from numerics.special.functions import CELLS, erfi_inv_table

_SIGNATURE = "(double{}, int __pyx_skip_dispatch)"
_TABLE = np.ascontiguousarray(erfi_inv_table().T)  # the powers of one cell side by side
_LARGEST = 1.7976931348623157e308
_HALF_ROOT_PI = math.sqrt(math.pi) / 2


def _scipy(name: str, arguments: int = 1) -> Callable[..., Any]:
    """A routine of ``scipy.special.cython_special``, linked under a name of its own."""
    wanted = "double " + _SIGNATURE.format(", double" * (arguments - 1))
    get_name, get_pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    for exported, capsule in cython_special.__pyx_capi__.items():
        signature = get_name(capsule)
        if re.fullmatch(rf"(__pyx_fuse_\d)?{name}", exported) and signature.decode() == wanted:
            llvm.add_symbol(f"scipy_special_{name}", get_pointer(capsule, signature))
            double = numba.types.float64
            return numba.types.ExternalFunction(
                f"scipy_special_{name}", double(*[double] * arguments, numba.types.intc)
            )
    raise ImportError(f"scipy.special.cython_special exports no {name} of {arguments} doubles")


def _unary(name: str) -> Callable[[float], float]:
    routine = _scipy(name)

    @numba.njit(error_model="numpy", nogil=True)
    def call(x: float) -> float:
        return routine(x, 0)

    return call


def _of_an_order(name: str) -> Callable[[float, float], float]:
    routine = _scipy(name, 2)

    @numba.njit(error_model="numpy", nogil=True)
    def call(order: float, x: float) -> float:
        return routine(order, x, 0)

    return call


dawsn, erfcx, erfi, erfinv, erfcinv = map(_unary, ("dawsn", "erfcx", "erfi", "erfinv", "erfcinv"))
log_normal_cdf = _unary("log_ndtr")
_ive, iv, kv, jv, yv = map(_of_an_order, ("ive", "iv", "kv", "jv", "yv"))


@numba.njit(error_model="numpy", nogil=True)
def erfi_inv(x: float) -> float:
    """The inverse of erfi, by the polynomials of :func:`numerics.special.erfi_inv`."""
    if math.isinf(x) or math.isnan(x):
        return x
    half = min(abs(x), _LARGEST) / 2
    if half < 5e-9:
        return _HALF_ROOT_PI * x
    s = math.sqrt(math.log1p(half * half) / 2 if half < 1e150 else math.log(half))
    place = s / (s + 2) * CELLS
    cell = int(place)
    place -= cell
    ratio = 0.0
    for k in range(_TABLE.shape[1]):
        ratio = ratio * place + _TABLE[cell, k]
    return math.copysign(s * ratio, x)


@numba.njit(error_model="numpy", nogil=True)
def scaled_bessel_i(order: float, z: float) -> float:
    """The scaled Bessel function, by Hankel's expansion where :func:`numerics.special.scaled_bessel_i` takes it."""
    if z > 1e8 and abs(order) <= 1000:
        mu, term, total = 4 * order * order, 1.0, 1.0
        for k in range(1, 8):
            term = -term * (mu - (2 * k - 1) ** 2) / (8 * k) / z
            total += term
        return total / math.sqrt(2 * math.pi) / math.sqrt(z)
    return _ive(order, z)


@numba.njit(error_model="numpy", nogil=True)
def logaddexp(a: float, b: float) -> float:
    """The logarithm of a sum of two exponentials."""
    top, gap = max(a, b), -abs(a - b)
    return top if math.isinf(top) or math.isnan(gap) else top + math.log1p(math.exp(gap))


@numba.njit(error_model="numpy", nogil=True)
def error_tail(exponent: float, u: float, rest: float) -> float:
    """An exponential times erfc, as :func:`numerics.special.error_tail`."""
    beyond = math.exp(rest) * erfcx(abs(u))
    return 2.0 * math.exp(exponent) - beyond if u < 0.0 else beyond


@numba.njit(error_model="numpy", nogil=True)
def logistic(x: float) -> float:
    """One over one plus an exponential, as :func:`numerics.special.logistic`."""
    return math.exp(x) if x < -709.0 else 1.0 / (1.0 + math.exp(-x))


@numba.njit(error_model="numpy", nogil=True)
def log_cosh(x: float) -> float:
    """The logarithm of the hyperbolic cosine, as :func:`numerics.special.log_cosh`."""
    size = abs(x)
    if size < 1.0:
        return math.log1p(2.0 * math.sinh(size / 2.0) ** 2)
    return size - math.log(2.0) + math.log1p(math.exp(-2.0 * size))


@numba.njit(error_model="numpy", nogil=True)
def tanh(x: float) -> float:
    """Cephes' hyperbolic tangent, to 2.3e-16: a rational function near 0, one exponential beyond; a third of libm's time."""
    size = abs(x)
    if size < 0.625:
        s = x * x
        p = (-9.64399179425052238628e-1 * s - 9.92877231001918586564e1) * s - 1.61468768441708447952e3
        q = ((s + 1.12811678491632931402e2) * s + 2.23548839060100448583e3) * s + 4.84406305325125486048e3
        return x + x * s * (p / q)
    return math.copysign(1.0 - 2.0 / (math.exp(2.0 * size) + 1.0), x)
