"""Stochastic calculus: Itô's formula, Kolmogorov's equations, the unit-noise form, closure."""
