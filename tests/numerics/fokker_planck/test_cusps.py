"""The error that a density on a grid states is at least the true one where the noise has cusps, kinks and jumps.

The peer is a finite-volume chain of its own in the state, on cells of equal length in the Lamperti coordinate, with the cusps as faces, an
implicit Runge–Kutta method in time, and three grids that are extrapolated. It is compared at the faces of its coarsest grid, over which the
differences of probabilities are at most the distance in L¹.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import sympy as sp
from scipy.linalg import solve_banded

from derivations import Diffusion
from numerics import solve_fokker_planck

x = sp.Symbol("x", real=True)
A, M, R = sp.Abs, sp.Max, sp.Rational
GAUSS = np.polynomial.legendre.leggauss(24)

#: The noise, its cusps, the start and the time.
MEMBERS = {
    "a fourth root": (A(x + R(3, 5)) ** R(1, 4) + R(1, 5), [R(-3, 5)], 0.5, 0.5),
    "an eighth root and a kink": (
        A(x - R(1, 5)) ** R(1, 8) + M(x - R(3, 5), 0) / 3 + R(1, 5),
        [R(1, 5), R(3, 5)],
        1.1,
        0.5,
    ),
    "a jump to a sixth root": (
        sp.Piecewise((R(3, 2), x < R(2, 5)), (A(x - R(2, 5)) ** R(1, 6) + R(1, 2), True)),
        [R(2, 5)],
        1.1,
        0.5,
    ),
    "a logarithm": (sp.log(1 + 1 / A(x + R(1, 2))) / 4 + R(3, 5), [R(-1, 2)], 1.1, 0.5),
    "two roots": (sp.sqrt(A(x - R(3, 5))) / 3 + A(x + R(1, 5)) ** R(1, 8) / 2 + R(1, 5), [R(-1, 5), R(3, 5)], 1.1, 1.0),
    "a kink": (A(x - R(1, 5)) / 2 + R(1, 5), [R(1, 5)], -0.7, 0.5),
}


class Peer:
    """Probabilities between the faces of a coarse grid."""

    def __init__(self, noise, cusps, start, time, cells=400):
        self.noise, self.start, self.time = noise, start, time
        steps = np.concatenate([[0.0], np.geomspace(1e-14, 1e3, 30_000)])
        states = np.unique(np.concatenate([c + sign * steps for c in (*cusps, start) for sign in (-1, 1)]))
        z = np.concatenate([[0.0], np.cumsum(np.diff(states) / noise((states[1:] + states[:-1]) / 2))])
        z -= np.interp(start, states, z)
        self.states, self.z, self.cusps, reach = states, z, cusps, 9 * np.sqrt(time)
        half = reach / cells
        marks = sorted([-reach, *np.interp(cusps, states, z), -half, half, reach])
        faces = [marks[0]]
        for a, b in pairwise(marks):
            count = 1 if (a, b) == (-half, half) else max(2, int(np.ceil((b - a) / (2 * half))))
            faces += list(np.linspace(a, b, count + 1)[1:])
        self.coarse = np.array(faces)

    def _speed(self, ends, nodes):
        """The speed measure between faces and nodes, by Gauss's rule in the sixth root of the distance from each end."""
        share, total = (1 + GAUSS[0]) / 2, 0.0
        middle = (ends + nodes) / 2
        for near in (ends, nodes):
            at = near[:, None] + (middle - near)[:, None] * share**6
            with np.errstate(divide="ignore"):  # a logarithm at a node that rounds to its pole
                noise = self.noise(at)
            total = total + np.abs(middle - near) * (2 / noise**2 * 6 * share**5 * GAUSS[1] / 2).sum(1)
        return total

    def _state(self, z):
        found = np.interp(z, self.z, self.states)
        for c in (*self.cusps, self.start):
            k = int(np.abs(found - c).argmin())
            found[k] = c if abs(found[k] - c) < 1e-9 else found[k]
        return found

    def probabilities(self, level):
        """Below each coarse face, each of its cells cut in 3 to a power."""
        pieces = 3**level
        grid = np.concatenate([np.linspace(a, b, pieces + 1)[:-1] for a, b in pairwise(self.coarse)])
        grid = np.append(grid, self.coarse[-1])
        nodes, faces = self._state((grid[1:] + grid[:-1]) / 2), self._state(grid)
        speed = self._speed(faces[:-1], nodes) + self._speed(faces[1:], nodes)
        up, down = np.zeros((2, len(nodes)))
        up[:-1], down[1:] = 1 / (speed[:-1] * np.diff(nodes)), 1 / (speed[1:] * np.diff(nodes))
        p = (nodes == self.start).astype(float)
        step, done, pole = 1e-3 / (up + down)[nodes == self.start][0], 0.0, 2 + 1j * np.sqrt(2)
        residue = 6 * (1 + pole / 3) / (2j * pole.imag)  # of Radau's (1 + w/3)/(1 − 2w/3 + w²/6)
        while done < self.time:
            h = min(step, self.time - done)
            bands = np.zeros((3, len(nodes)), complex)
            bands[0, 1:], bands[1], bands[2, :-1] = h * down[1:], -h * (up + down) - pole, h * up[:-1]
            p = 2 * np.real(residue * solve_banded((1, 1), bands, p.astype(complex)))
            done, step = done + h, step * 1.01
        return np.concatenate([[0.0], np.cumsum(p)])[::pieces]


def between(difference):
    return np.abs(np.diff(np.concatenate([[0.0], difference, [0.0]]))).sum()


@pytest.mark.slow
@pytest.mark.parametrize("name", MEMBERS)
def test_the_error_that_is_stated_bounds_the_true_one(name):
    noise, cusps, start, time = MEMBERS[name]
    d = solve_fokker_planck(Diffusion((x,), [0], [[noise**2]]), start, t=time)
    assert d.error < 1e-6
    function = sp.lambdify(x, noise, "numpy")
    peer = Peer(lambda at: function(at) + 0 * at, [float(c) for c in cusps], start, time)
    grids = [peer.probabilities(level) for level in (0, 1, 2)]
    rough, exact = ((9 * fine - coarse) / 8 for coarse, fine in pairwise(grids))
    unsure = between((exact - rough)[::4]) / 6
    assert unsure < 1e-7
    distance = between((d.cdf(peer._state(peer.coarse)) - exact)[::4])
    assert distance < d.error + unsure
    # the control: one part in a thousand more noise is seen
    other = solve_fokker_planck(Diffusion((x,), [0], [[noise**2 * R(1001, 1000)]]), start, t=time)
    assert between((other.cdf(peer._state(peer.coarse)) - exact)[::4]) > 50 * d.error
