"""Filter pruning of convolutional networks: rank, select, rebuild."""

from prunekit.channels import ChannelGraph, TraceError, trace
from prunekit.storage import load, save
from prunekit.surgery import mask, rebuild

__all__ = ["ChannelGraph", "TraceError", "load", "mask", "rebuild", "save", "trace"]
