"""Training at infinite width, solved: fields of neurons, matrices known by what they met, and gradient descent on them."""

from numerics.dynamics.solve import SolvedTraining, solve_training

__all__ = ["SolvedTraining", "solve_training"]
