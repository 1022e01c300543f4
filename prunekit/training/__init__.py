"""Training and evaluation of classifiers."""

from prunekit.training.evaluation import Evaluation, evaluate
from prunekit.training.fitting import Interrupted, fit
from prunekit.training.teaching import answers

__all__ = ["Evaluation", "Interrupted", "answers", "evaluate", "fit"]
