"""Training finite networks of a recipe, and what the derivation says of their start (extra ``jax``)."""

from numerics.training.by_depth import Trainability, trainability
from numerics.training.descent import Training, TrainingDiverged, train
from numerics.training.network import TrainableNetwork

__all__ = ["TrainableNetwork", "Trainability", "Training", "TrainingDiverged", "train", "trainability"]
