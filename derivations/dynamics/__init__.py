"""Training at infinite width: two-time kernels of forward and backward processes."""

from derivations.dynamics.limit import TrainingLimit, training_limit

__all__ = ["TrainingLimit", "training_limit"]
