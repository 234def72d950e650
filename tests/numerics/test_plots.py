"""Figures hold what they should, touch no global state, and become SVG that a page can hold."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
import sympy as sp

from derivations import MLP, Network, ResNet, ShapedMLP, Weights, relu, scalings, symbols, tanh
from numerics.plots import (
    INK,
    Course,
    Followed,
    Histogram,
    common_edges,
    comparison_figure,
    course_figure,
    density_figure,
    inline_svg,
    order_figure,
    phase_figure,
    svg,
)
from numerics.statistics import Estimate, convergence_order

NORMAL = np.random.default_rng(0).standard_normal(20_000)


def standard_density(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def figures():
    time = np.linspace(0, 1, 5)
    course = Course.of(time, np.random.default_rng(1).standard_normal((5, 50)))
    one = Followed("input 1", course, course, course)
    depths, biases = (4, 8, 16), [Estimate(3 / L + 1 / L**2, 1e-3) for L in (4, 8, 16)]
    return {
        "density": density_figure(standard_density, NORMAL),
        "comparison": comparison_figure(NORMAL, NORMAL[::-1] + 0.01, "state $x$"),
        "course": course_figure([one], "norm", [one]),
        "order": order_figure(depths, biases, convergence_order(depths, biases, corrected=False)),
    }


FIGURES = figures()


def test_histogram_is_a_density_with_binomial_errors():
    bars = Histogram.of([0.5, 0.5, 1.5, 9.0], [0.0, 1.0, 3.0])
    assert bars.height.tolist() == [0.5, 0.125]
    assert bars.error == pytest.approx([np.sqrt(0.25 / 4), np.sqrt(0.1875 / 4) / 2])


def test_error_bars_cover_the_density_as_often_as_they_should_and_miss_a_wrong_one():
    bars = Histogram.of(NORMAL, np.linspace(-2, 2, 41))

    def chi_square(scale):
        expected = standard_density(bars.centre / scale) / scale
        return np.mean(((bars.height - expected) / bars.error) ** 2)

    spread = np.sqrt(2 / 40)  # of the mean of 40 squared standard normals
    assert abs(chi_square(1.0) - 1) < 4 * spread
    assert chi_square(1.05) > 1 + 4 * spread


def test_bins_of_a_sample_that_does_not_move():
    edges = common_edges(np.ones(10))
    assert edges[0] < 1 < edges[-1]


def test_bins_cover_the_bulk_of_a_skewed_sample_from_its_start():
    skewed = np.random.default_rng(2).exponential(size=20_000)
    edges = common_edges(skewed, beyond=0.05)
    assert edges[0] < 0.05
    assert edges[-1] == pytest.approx(-np.log(0.05), abs=0.15)  # not the largest value, near 10


@pytest.mark.parametrize("name", FIGURES)
def test_every_axis_has_a_label(name):
    axes = FIGURES[name].axes[0]
    assert axes.get_xlabel()
    assert axes.get_ylabel()


def test_no_global_state_is_touched():
    before = dict(mpl.rcParams)
    inline_svg(figures()["density"], "a")
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not mpl.pyplot.get_fignums()


@pytest.mark.parametrize("name", FIGURES)
def test_inline_svg_is_well_formed_scales_and_takes_the_colours_of_the_page(name):
    text = inline_svg(FIGURES[name], name)
    root = ElementTree.fromstring(text)
    assert "viewBox" in root.attrib
    assert not {"width", "height"} & set(root.attrib)
    assert "currentColor" in text
    assert INK not in text
    assert "var(--series-" in text


def test_figures_on_one_page_share_no_ids_and_find_their_own():
    first, second = inline_svg(FIGURES["density"], "a"), inline_svg(FIGURES["comparison"], "b")
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (first, second)]
    assert not ids[0] & ids[1]
    for text, own in zip((first, second), ids, strict=True):
        used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
        assert used
        assert used <= own


@pytest.mark.slow
def test_stand_alone_svg_is_reproducible_and_says_nothing_of_the_machine():
    first, again = svg(FIGURES["density"]), svg(figures()["density"])  # drawn twice
    assert first == again
    drawn = figures()["course"]
    assert svg(drawn) == svg(drawn) == svg(figures()["course"])  # a layout that starts from the last one ends elsewhere
    assert first != svg(FIGURES["comparison"])
    assert not any(word in first for word in ("<dc:date>", "<dc:creator>", str(Path.home())))


def test_course_has_standard_errors():
    course = Course.of([0.0, 1.0], [[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    assert course.mean.tolist() == [2.5, 0.0]
    assert course.error == pytest.approx([0.6454972, 0.0])


def test_what_has_run_away_is_left_out_of_the_edges_and_counted():
    sample = np.array([0.0, 1.0, 2.0, 3.0, np.inf, np.nan])
    edges = common_edges(sample, bins=3, beyond=0.0)
    assert (edges[0], edges[-1]) == (0.0, 3.0)
    assert Histogram.of(sample, edges).height.sum() == pytest.approx(4 / 6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "names"),
    [
        (lambda: scalings(ResNet(relu, width=symbols.width)), {"drift only", "noise only", "drift and noise"}),
        (lambda: scalings(ShapedMLP(tanh, inputs=2, a=1)), {"drift only", "noise only", "drift and noise"}),
        (lambda: scalings(ResNet(relu, width=sp.oo)), {"drift only"}),
    ],
)
def test_a_phase_diagram_names_what_survives(made, names):
    figure = phase_figure(made())
    (axes,) = figure.axes
    assert {line.get_label() for line in axes.get_lines()} == names
    assert svg(figure) == svg(figure)


def test_the_corner_of_a_phase_diagram_is_where_drift_and_noise_meet():
    (axes,) = phase_figure(scalings(ShapedMLP(tanh, inputs=2, a=1))).axes
    both = next(line for line in axes.get_lines() if line.get_label() == "drift and noise")
    points = np.array(both.get_xydata())
    assert np.allclose(points[np.isfinite(points).all(axis=1)], [[0.5, 1.0]])


@pytest.mark.slow
def test_a_phase_diagram_that_is_none_is_refused():
    with pytest.raises(ValueError, match="unknown exponent z"):
        phase_figure(scalings(ResNet(relu, width=symbols.width)), sp.Symbol("z"))
    grows = Network(lambda x: 2 * x + Weights("A")(x), width=3)
    with pytest.raises(ValueError, match="there is no phase diagram"):
        phase_figure(scalings(grows))


@pytest.mark.slow
def test_rates_of_the_first_step_over_the_branch_and_over_the_readout():
    (axes,) = phase_figure(scalings(ResNet(relu, width=symbols.width), training=True)).axes
    lines = [line.get_xydata() for line in axes.get_lines()]
    ends = {tuple(line[-1]) for line in lines}
    assert ends == {(2.0, 0.0), (2.0, -3.0), (2.0, -1.0)}  # b = 1 - 2p and 1 - p
    assert all(line[0, 0] == 0.5 for line in lines)  # a limit begins there
    (axes,) = phase_figure(scalings(MLP(relu), training=True)).axes
    assert (1.0, -1.0) in {tuple(row) for line in axes.get_lines() for row in line.get_xydata()}  # the input's rate n
    with pytest.raises(ValueError, match="unknown exponent"):
        phase_figure(scalings(MLP(relu), training=True), sp.Symbol("z"))
