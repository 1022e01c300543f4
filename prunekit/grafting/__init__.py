"""Filter grafting: networks trained side by side that take weights from one another.

Meng et al. (2020) graft the weights of each layer, by entropy; Wei and Chen
(2022) graft its batch norm jointly, to train pruned networks again.
"""

from prunekit.grafting.ring import coefficient, coefficients, graft
from prunekit.grafting.training import fit_grafted, learning_rates

__all__ = ["coefficient", "coefficients", "fit_grafted", "graft", "learning_rates"]
