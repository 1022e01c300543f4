"""Widths chosen in one step, from what is known of each layer.

A knapsack takes widths that lose little, by a table of what each costs and
loses (:func:`knapsack`). What the weights of each layer say is another way (Wei 2023):
adaptive layer entropy and abnormal information richness give each unit of
channels a value; an allocation turns values into widths that meet a budget:

>>> import torch
>>> from prunekit import rank, rebuild, trace
>>> from prunekit.models import TinySqueezeNet
>>> model, x = TinySqueezeNet(), torch.zeros(1, 3, 32, 32)
>>> graph = trace(model, x)
>>> widths = allocate(model, x, layer_entropies(model, graph), ratio=0.5)
>>> remove = select_widths(rank(model, [(x, None)], "weight_l1"), widths["kept"], graph)
>>> small = rebuild(model, graph, remove)
"""

from prunekit.channels.units import Unit, units
from prunekit.widths.allocation import allocate, select_widths
from prunekit.widths.entropy import entropy, layer_entropies
from prunekit.widths.knapsack import knapsack, width_table
from prunekit.widths.richness import (
    abnormal_richness,
    fences,
    mean_magnitudes,
    tamed,
    to_unit_range,
)

__all__ = [
    "Unit",
    "abnormal_richness",
    "allocate",
    "entropy",
    "fences",
    "knapsack",
    "layer_entropies",
    "mean_magnitudes",
    "select_widths",
    "tamed",
    "to_unit_range",
    "units",
    "width_table",
]
