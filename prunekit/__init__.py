"""Filter pruning of convolutional networks: rank, select, rebuild."""

from importlib.metadata import PackageNotFoundError, version

from prunekit.channels import ChannelGraph, TraceError, trace
from prunekit.criteria import rank, rank_all
from prunekit.errors import PrunekitError
from prunekit.measure import Latency, Profile, compare, latency, peak_memory, profile
from prunekit.pruning import PruningHistory, Sensitivity, prune, sensitivity
from prunekit.repair import fold_batch_norm, insert_batch_norm, repair
from prunekit.selection import Selection, select
from prunekit.storage import load, save
from prunekit.surgery import mask, rebuild, rebuild_optimizer

try:
    __version__ = version("prunekit")
except PackageNotFoundError:  # a checkout that is run without being installed
    __version__ = "0+unknown"

__all__ = [
    "ChannelGraph",
    "Latency",
    "Profile",
    "PrunekitError",
    "PruningHistory",
    "Selection",
    "Sensitivity",
    "TraceError",
    "__version__",
    "compare",
    "fold_batch_norm",
    "insert_batch_norm",
    "latency",
    "load",
    "mask",
    "peak_memory",
    "profile",
    "prune",
    "rank",
    "rank_all",
    "rebuild",
    "rebuild_optimizer",
    "repair",
    "save",
    "select",
    "sensitivity",
    "trace",
]
