"""What a user of the library does first, with the prunekit that is installed.

Run by test_wheel.py, and by the release before it publishes.
"""

import runpy
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

import prunekit

print(prunekit.__version__, Path(prunekit.__file__).parent)

torch.manual_seed(0)
model = nn.Sequential(
    *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()),
    *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)),
).eval()
x = torch.randn(10, 3, 16, 16)

ranking = prunekit.rank(model, [(x, torch.arange(10))], criterion="combined")
remove = prunekit.select(ranking, count=4)
small = prunekit.rebuild(model, x, remove)
torch.testing.assert_close(small(x), prunekit.mask(model, x, remove)(x))
if prunekit.profile(small, x).parameters >= prunekit.profile(model, x).parameters:
    sys.exit("four filters were removed, and the network is as large as before")

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "small.safetensors"
    prunekit.save(small, path)
    torch.testing.assert_close(prunekit.load(path)(x), small(x))

for program in ("prunekit.study", "prunekit.deploy"):
    sys.argv = [program, "--help"]
    try:
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
