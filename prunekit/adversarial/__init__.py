"""Adversarial multi-indicator architecture selection (Wei and Chen 2021).

Soft masks on a network's channels are learned against a discriminator, which
tells the masked network from the unpruned one by their outputs; of the
networks met on the way one is chosen by two opposed indicators, channels
pruned and accuracy. The paper's abstract is public, and the code of its
ancestor GAL (Lin et al. 2019); how the two go together is a reconstruction.
"""

from prunekit.adversarial.alignment import Alignment, align
from prunekit.adversarial.candidates import choose, pareto_front
from prunekit.adversarial.discriminator import Discriminator, discriminator_loss, student_loss
from prunekit.adversarial.fista import Fista, soft_threshold, unheld_fall
from prunekit.adversarial.masks import SoftMasks

__all__ = [
    "Alignment",
    "Discriminator",
    "Fista",
    "SoftMasks",
    "align",
    "choose",
    "discriminator_loss",
    "pareto_front",
    "soft_threshold",
    "student_loss",
    "unheld_fall",
]
