"""From a trained network to a board: export, quantise, bundle, run, count.

Needs the extra ``deploy``: ``pip install prunekit[deploy]``. What is needed
only to build or emulate for ARM is named when it is missing.
"""

from prunekit.deploy.bundles import BundleError, bundle, unpack
from prunekit.deploy.emulation import count_instructions
from prunekit.deploy.export import ExportError, export_executorch, export_onnx
from prunekit.deploy.targets import Settings, TargetError, run
from prunekit.deploy.toolchain import ToolError, build_runner

__all__ = [
    "BundleError",
    "ExportError",
    "Settings",
    "TargetError",
    "ToolError",
    "build_runner",
    "bundle",
    "count_instructions",
    "export_executorch",
    "export_onnx",
    "run",
    "unpack",
]
