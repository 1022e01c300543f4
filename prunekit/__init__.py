"""Filter pruning of convolutional networks: rank, select, rebuild."""

from prunekit.channels import ChannelGraph, TraceError, trace
from prunekit.criteria import rank, rank_all
from prunekit.measure import Latency, Profile, compare, latency, peak_memory, profile
from prunekit.pruning import PruningHistory, prune
from prunekit.selection import Selection, select
from prunekit.storage import load, save
from prunekit.surgery import mask, rebuild

__all__ = [
    "ChannelGraph",
    "Latency",
    "Profile",
    "PruningHistory",
    "Selection",
    "TraceError",
    "compare",
    "latency",
    "load",
    "mask",
    "peak_memory",
    "profile",
    "prune",
    "rank",
    "rank_all",
    "rebuild",
    "save",
    "select",
    "trace",
]
