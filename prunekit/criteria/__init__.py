"""Criteria: each turns what it sees of a layer into one score for each filter."""

# The order of these imports is that of the criteria in lists and figures.
# isort: off
from prunekit.criteria.base import Criterion, Observation, normalise
from prunekit.criteria.registry import CRITERIA, about, overview, register
from prunekit.criteria.activation import ActivationL2
from prunekit.criteria.taylor import Taylor, TaylorSigned
from prunekit.criteria.combined import Combined, CombinedRanks
from prunekit.criteria.weight import WeightNorm
from prunekit.criteria.random import Random
from prunekit.criteria.bn_scale import BNScale
from prunekit.criteria.fpgm import FPGM
from prunekit.criteria.apoz import APoZ
from prunekit.criteria.hrank import HRank
from prunekit.criteria.similarity import FilterSimilarity, MapSimilarity
from prunekit.criteria.lamp import LAMP
from prunekit.criteria.taylor_weight import TaylorWeight
from prunekit.criteria.output import OutputL2
from prunekit.criteria.fisher import Fisher
from prunekit.criteria.ranking import rank, rank_all

__all__ = [
    "CRITERIA",
    "FPGM",
    "LAMP",
    "APoZ",
    "ActivationL2",
    "BNScale",
    "Combined",
    "CombinedRanks",
    "Criterion",
    "FilterSimilarity",
    "Fisher",
    "HRank",
    "MapSimilarity",
    "Observation",
    "OutputL2",
    "Random",
    "Taylor",
    "TaylorSigned",
    "TaylorWeight",
    "WeightNorm",
    "about",
    "normalise",
    "overview",
    "rank",
    "rank_all",
    "register",
]
