"""One call on a result: what is drawn is what was derived, into axes that are given or new."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from matplotlib.figure import Figure

from derivations import ResNet, derive, identity, relu, scalings, symbols
from numerics import compile_law
from numerics.plots import plot_course, plot_density, plot_kernel, plot_order, plot_paths, plot_phase, save
from numerics.statistics import Estimate, convergence_order

NEURON = derive(ResNet(relu, width=1))
PAIR = derive(ResNet(relu, width=sp.oo, inputs=2))


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_a_density_is_the_law_s_own():
    axes = plot_density(NEURON, x0=1.0, t=0.5)
    x, y = lines(axes)["derived density"].get_data()
    assert np.allclose(y, compile_law(NEURON.law, x0=1.0, t=0.5).pdf(x))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("state $x$", "probability density")


def test_samples_are_counted_and_atoms_drawn():
    axes = plot_density(NEURON, x0=1.0, samples=np.random.default_rng(0).lognormal(size=500))
    assert "500 samples ± s.e." in axes.get_legend_handles_labels()[1]
    assert plot_density(NEURON, x0=-1.0).get_legend_handles_labels()[1] == ["atom of probability 1"]


def test_paths_have_their_median_and_bands():
    linear = derive(ResNet(identity, width=1))
    axes = plot_paths(linear, x0=1.0, t=1.0, samples=4000, steps=50)
    t, median = lines(axes)["median"].get_data()
    assert (
        np.abs(median - np.exp(-t / 2)).max() < 4 * 1.3 / np.sqrt(4000) + 1 / 50
    )  # density of log X at its median is 0.4/√t or more
    assert axes.get_ylabel() == "$x_t$"
    assert {"90% of the paths", "50% of the paths"} <= set(axes.get_legend_handles_labels()[1])


def test_the_course_of_second_moments_and_of_their_correlation():
    axes = plot_course(PAIR, [1.0, 0.2, 1.0], t=1.0)
    drawn = lines(axes)
    assert drawn["$K_{11}$"].get_ydata()[-1] == pytest.approx(np.exp(0.5), rel=1e-6)
    assert drawn[r"correlation $\rho$"].get_ydata()[0] == pytest.approx(0.2)


def test_axes_that_are_given_are_drawn_into():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plot_density(NEURON, axes=left) is left
    assert plot_kernel(np.eye(3), axes=right) is right
    assert plot_kernel(np.eye(3)).images[0].get_array().shape == (3, 3)


@pytest.mark.slow
def test_phase_and_order_have_names():
    axes = plot_phase(scalings(ResNet(relu, width=symbols.width)))
    assert axes.get_legend_handles_labels()[1] == ["drift only", "noise only", "drift and noise"]
    biases = [Estimate(1 / depth, 1e-3) for depth in (8, 16, 32)]
    axes = plot_order((8, 16, 32), biases, convergence_order((8, 16, 32), biases, corrected=False))
    assert axes.get_xscale() == "log"


@pytest.mark.parametrize(("suffix", "head"), [(".pdf", b"%PDF"), (".svg", b"<?xml"), (".png", b"\x89PNG")])
def test_a_figure_is_saved_as_its_suffix_says(suffix, head, tmp_path):
    path = save(plot_kernel(np.eye(2)), tmp_path / f"kernel{suffix}")
    assert path.read_bytes().startswith(head)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: save(plot_kernel(np.eye(2)), "kernel.gif"), "unknown suffix '.gif'"),
        (lambda: plot_kernel(np.ones((2, 3))), r"a kernel must have the shape \(m, m\), got \(2, 3\)"),
        (lambda: plot_course(NEURON, [1.0]), "a course is that of a limit without noise, got .*Diffusion"),
        (lambda: plot_course(PAIR, [1, 0, 1], states=[symbols.state]), "x is no state of this flow; it has K_11, K_12, K_22"),
        (lambda: plot_density(NEURON, axes="left"), "axes must be Matplotlib's, got 'left'"),
    ],
    ids=["suffix", "kernel", "flow", "state", "axes"],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
