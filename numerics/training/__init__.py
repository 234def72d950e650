"""Training finite networks of a recipe, and what the derivation says of their start (extra ``jax``)."""

from numerics.training.descent import Training, TrainingDiverged, train
from numerics.training.network import TrainableNetwork

__all__ = ["TrainableNetwork", "Training", "TrainingDiverged", "train"]
