r"""The mean of smooth functions of a weakly correlated Gaussian pair: a series in the correlation, of means of one variable each (mpmath)."""

from __future__ import annotations

import mpmath as mp

from derivations.gaussian.integrate import Function, new_nodes

_LARGEST = mp.mpf(1) / 2  # correlation: as many terms as bits
_WIDEST = 4  # deviation: beyond it functions are narrow beside the Gaussian
_LEVELS = 7  # halvings of the step, before a function is too narrow
_LOST = 12  # bits that terms which cancel may take


def mehler_mean(f: Function, g: Function, deviations: tuple[mp.mpf, mp.mpf], rho: mp.mpf) -> mp.mpf | None:
    r""":math:`\mathbb{E} f(U) g(V)` at the current working precision; None where its digits are not certain.

    By Mehler's formula :math:`\sum_n \rho^n f_n g_n` with :math:`f_n = \mathbb{E} f(\sigma Z) He_n(Z)/\sqrt{n!}`. What is left out is
    :math:`|\rho|^N \sqrt{\mathbb{E} f^2\, \mathbb{E} g^2}` at most (Cauchy and Schwarz, and Parseval), and all coefficients come from the same
    values of f and g on one line, where a mean over the plane asks for one of them at every pair of points.

    Parameters
    ----------
    f, g : callable
        Real, and analytic beside the real line.
    deviations : pair of mpf
    rho : mpf

    Examples
    --------
    >>> half = mp.mpf(1) / 2
    >>> mp.nstr(mehler_mean(mp.sin, mp.sin, (mp.mpf(1), mp.mpf(1)), half) * mp.e / mp.sinh(half), 12)
    '1.0'
    >>> mehler_mean(mp.sin, mp.cos, (mp.mpf(1), mp.mpf(1)), half) is None  # 0, of which no digit is known
    True
    """
    if abs(rho) > _LARGEST or max(deviations) > _WIDEST:
        return None
    bits = mp.mp.prec
    count = int(mp.ceil(bits / -mp.log(abs(rho), 2))) + 2 if rho else 1
    edge = int(mp.ceil(mp.sqrt(4 * bits * mp.log(2))))
    powers, roots = [rho**n for n in range(count)], [mp.sqrt(n) for n in range(count + 1)]
    sums, squares = [[mp.mpf(0)] * count, [mp.mpf(0)] * count], [mp.mpf(0), mp.mpf(0)]
    both = [(mp.mpf(0), mp.mpf(0))] * 2  # sums and differences of the terms at z and -z
    beyond = value = mp.mpf(0)
    for level in range(1, _LEVELS):
        for z, weight in new_nodes(level, edge, bits):
            if z < 0:
                continue  # beside its opposite
            for k, function, s in zip((0, 1), (f, g), deviations, strict=True):
                right, left = weight * function(s * z), weight * function(-s * z) if z else mp.mpf(0)
                if isinstance(right + left, mp.mpc):
                    return None  # errors are those of real numbers
                squares[k] += (right**2 + left**2) / weight
                both[k] = right + left, right - left
            before, polynomial = mp.mpf(0), mp.mpf(1)
            for n in range(count):
                for own, parts in zip(sums, both, strict=True):
                    own[n] += parts[n % 2] * polynomial
                if z == edge:  # how much may lie beyond the last node
                    beyond = max(
                        beyond, abs(powers[n] * polynomial) * max(abs(part) for parts in both for part in parts)
                    )
                before, polynomial = polynomial, (z * polynomial - roots[n] * before) / roots[n + 1]
        step = mp.ldexp(1, -level)
        norms = [mp.sqrt(step * square) for square in squares]
        products = [p * a * b * step**2 for p, a, b in zip(powers, *sums, strict=True)]
        previous, value = value, mp.fsum(products)
        if level > 3 and abs(value - previous) <= mp.ldexp(mp.fsum(products, absolute=True), -bits // 2 - 4):
            break
    else:
        return None
    rounded = mp.fsum(
        abs(p) * step * (abs(a) * norms[1] + abs(b) * norms[0]) for p, a, b in zip(powers, *sums, strict=True)
    )
    left_out = abs(rho) ** count * norms[0] * norms[1]
    error = mp.ldexp(rounded, -bits) + left_out + beyond * max(norms)
    return value if error <= abs(value) * mp.ldexp(1, _LOST - bits) else None
