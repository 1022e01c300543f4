"""Finding, decoding and splitting image sets.

An image classification set small enough to teach with fits in memory as one
``uint8`` array. Decoding happens once and is cached; everything after that
(crops, flips, resizing, normalisation) runs on a batch at a time.
"""

from prunekit.data.datasets import load_dataset
from prunekit.data.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageSet,
    normalise,
    random_crop,
    random_flip,
)
from prunekit.data.loader import Loader
from prunekit.data.named import data_folder
from prunekit.data.splits import Dataset, split
from prunekit.data.views import Views

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Dataset",
    "ImageSet",
    "Loader",
    "Views",
    "data_folder",
    "load_dataset",
    "normalise",
    "random_crop",
    "random_flip",
    "split",
]
