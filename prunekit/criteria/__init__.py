"""Criteria: each turns what it sees of a layer into one score for each filter."""

from prunekit.criteria.activation import ActivationL2
from prunekit.criteria.apoz import APoZ
from prunekit.criteria.base import Criterion, Observation, normalise
from prunekit.criteria.bn_scale import BNScale
from prunekit.criteria.combined import Combined, CombinedRanks
from prunekit.criteria.fpgm import FPGM
from prunekit.criteria.hrank import HRank
from prunekit.criteria.random import Random
from prunekit.criteria.ranking import CRITERIA, rank, rank_all
from prunekit.criteria.similarity import FilterSimilarity, MapSimilarity
from prunekit.criteria.taylor import Taylor, TaylorSigned
from prunekit.criteria.weight import WeightNorm

__all__ = [
    "CRITERIA",
    "FPGM",
    "APoZ",
    "ActivationL2",
    "BNScale",
    "Combined",
    "CombinedRanks",
    "Criterion",
    "FilterSimilarity",
    "HRank",
    "MapSimilarity",
    "Observation",
    "Random",
    "Taylor",
    "TaylorSigned",
    "WeightNorm",
    "normalise",
    "rank",
    "rank_all",
]
