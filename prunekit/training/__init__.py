"""Training and evaluation of classifiers."""

from prunekit.training.evaluation import Evaluation, evaluate
from prunekit.training.fitting import Interrupted, fit

__all__ = ["Evaluation", "Interrupted", "evaluate", "fit"]
