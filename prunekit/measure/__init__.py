"""What networks cost: counted, measured, and the one beside the other."""

from prunekit.measure.comparison import compare
from prunekit.measure.cost import Profile, profile
from prunekit.measure.memory import peak_memory
from prunekit.measure.timing import Latency, latencies, latency

__all__ = ["Latency", "Profile", "compare", "latencies", "latency", "peak_memory", "profile"]
