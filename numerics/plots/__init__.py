"""Figures: one call on a result (:mod:`numerics.plots.results`), and what these are made of (:mod:`numerics.plots.figures`)."""

from __future__ import annotations

from numerics.plots.figures import (
    FIFTH,
    FOURTH,
    INK,
    NETWORKS,
    SERIES,
    THEORY,
    THIRD,
    Course,
    Followed,
    Histogram,
    Series,
    common_edges,
    comparison_figure,
    course_figure,
    density_figure,
    inline_svg,
    order_figure,
    series_figure,
    svg,
)
from numerics.plots.phases import phase_figure
from numerics.plots.results import plot_course, plot_density, plot_kernel, plot_order, plot_paths, plot_phase, save

__all__ = [
    "FIFTH",
    "FOURTH",
    "INK",
    "NETWORKS",
    "SERIES",
    "THEORY",
    "THIRD",
    "Course",
    "Followed",
    "Histogram",
    "Series",
    "common_edges",
    "comparison_figure",
    "course_figure",
    "density_figure",
    "inline_svg",
    "order_figure",
    "phase_figure",
    "plot_course",
    "plot_density",
    "plot_kernel",
    "plot_order",
    "plot_paths",
    "plot_phase",
    "save",
    "series_figure",
    "svg",
]
