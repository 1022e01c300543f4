"""Draw what the lab shows first, for browsers that cannot run it, into book/_static/lab/still.png.

python book/lab_figure.py
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import lab
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from prunekit.book import in_page
from prunekit.book.plots.style import PALETTE, names_along, percent, use_style, write_figure
from prunekit.data.images import normalise

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SHOWN = 4


def first_picture() -> np.ndarray:
    """The first of the lab's pictures: (128, 128, 3), unsigned bytes."""
    data = re.search(r"base64,([^\"]+)", (lab.FILES / "pictures.js").read_text("utf-8"))
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))))


def reduced(pixels: np.ndarray) -> torch.Tensor:
    """A picture at 32 pixels a side, as the lab reduces it: (3, 32, 32), unsigned bytes."""
    blocks = pixels.astype(np.float64).reshape(32, 4, 32, 4, 3).mean((1, 3))
    return torch.from_numpy(np.floor(blocks + 0.5).astype(np.uint8)).permute(2, 0, 1)


def shown() -> dict[str, Path]:
    """The whole network of the lab, and the one in the middle."""
    files = sorted(lab.FILES.glob("network-[0-9]*.js"))  # not the detectors, which have names
    return {"original": files[0], "pruned": files[len(files) // 2]}


def main(path: Path = lab.FILES / "still.png") -> None:
    use_style()
    picture = first_picture()
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.2), width_ratios=(1, 1.4, 1.4))
    axes[0].imshow(picture)
    axes[0].axis("off")
    for ax, colour, (name, file) in zip(axes[1:], PALETTE, shown().items(), strict=False):
        model, facts = in_page.read(file)
        with torch.inference_mode():
            shares = model(normalise(reduced(picture)[None], facts["size"]))[0].softmax(0)
        likely = shares.argsort(descending=True)[:SHOWN]
        ax.barh(np.arange(SHOWN), shares[likely], color=colour)
        names_along(ax.yaxis, [CLASSES[c] for c in likely])
        ax.invert_yaxis()
        gone = f", {facts['ratio']:.0%} of filters gone" if facts["ratio"] else ""
        ax.set(title=name + gone, xlim=(0, 1))
        percent(ax.xaxis)
        ax.grid(visible=False)
    write_figure(figure, path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
