"""Stochastic calculus: Itô's formula, Kolmogorov's equations, the Lamperti form, closure."""
