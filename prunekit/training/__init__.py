"""Training, of classifiers and by any loss, and evaluation."""

from prunekit.training.evaluation import Evaluation, evaluate
from prunekit.training.fitting import fit
from prunekit.training.group_lasso import GroupLasso
from prunekit.training.interrupted import Interrupted
from prunekit.training.teaching import answers

__all__ = ["Evaluation", "GroupLasso", "Interrupted", "answers", "evaluate", "fit"]
