"""What the networks of a study are to do: their data, their loss, and what judges them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from prunekit.checks.batches import Batches
from prunekit.data import Dataset, Loader, Views
from prunekit.data.datasets import load_for
from prunekit.data.images import sha256_of
from prunekit.data.named import data_folder
from prunekit.detection import (
    BoxLoader,
    BoxSet,
    detection_distillation,
    detection_loss,
    evaluate_detector,
    load_voc,
    ssd_anchors,
)
from prunekit.execution import device_of
from prunekit.training import evaluate

EVALUATED, EVALUATED_PICTURES = 250, 16  # in a batch: the maps of a detector are large
CLASSES = ("person",)  # that detectors find
HELD_OUT, DRAW = 0.1, 0  # share of PASCAL VOC's trainval that validates, and the seed that draws it


class Task:
    """What a run's networks learn from, at its input size, and how they are judged.

    Parameters
    ----------
    dataset
        What :meth:`load` gives.
    settings
        Those of the run.
    model
        The network that the run begins with.

    Attributes
    ----------
    numbers : tuple of str
        What networks are judged by on validation; the first decides.
    foreign, foreign_tuning : frozenset of str
        Settings of a run, and of a training, that mean nothing for the task.
    options : mapping
        ``loss`` and ``evaluate`` of :func:`prunekit.training.fit` and
        :func:`prunekit.prune`, where they are not the usual ones.
    metadata : mapping
        What a file must say of a network beside its layers.
    train, val, test : loaders
    example_inputs : tensor
        Of one example.
    """

    numbers: ClassVar[tuple[str, ...]]
    foreign: ClassVar[frozenset[str]] = frozenset()
    foreign_tuning: ClassVar[frozenset[str]] = frozenset()
    options: Mapping[str, Any]
    metadata: Mapping[str, Any]
    train: Batches
    val: Batches
    test: Batches

    @staticmethod
    def load(settings: Mapping[str, Any]) -> Any:
        """All parts of the data, with its ``name``, ``classes`` and ``fingerprint()``."""
        raise NotImplementedError

    def __init__(self, dataset: Any, settings: Mapping[str, Any], model: nn.Module) -> None:
        self.size, self.batch_size = settings["input_size"], settings["batch_size"]
        self.seed = settings["seed"]
        self.options, self.metadata = {}, {}
        self.example_inputs = torch.zeros(1, 3, self.size, self.size)

    def judged(self, model: nn.Module, loader: Batches) -> Mapping[str, float]:
        """How well a network does on one part of the data, by ``numbers`` and maybe more."""
        raise NotImplementedError

    def taught(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of :func:`prunekit.training.fit` for a training that teachers have a say in."""
        return dict(settings)

    def views(self, count: int, size: int) -> Views:
        """Fixed views of the training images, the same at every size."""
        raise NotImplementedError


class Classification(Task):
    """Images with labels, learnt by cross-entropy and judged by accuracy."""

    numbers = ("accuracy",)

    @staticmethod
    def load(settings: Mapping[str, Any]) -> Dataset:
        return load_for(settings["dataset"], settings["input_size"], stand_in=False)

    def __init__(self, dataset: Dataset, settings: Mapping[str, Any], model: nn.Module) -> None:
        super().__init__(dataset, settings, model)
        self.flip = dataset.name not in ("digits", "svhn")
        parts = (dataset.train, dataset.val, dataset.test)
        train, val, test = (part.to(device_of(model)) for part in parts)
        self.images = train
        self.train = Loader(
            train, self.batch_size, size=self.size, shuffle=True, augment=True, flip=self.flip
        )
        self.val = Loader(val, EVALUATED, size=self.size)
        self.test = Loader(test, EVALUATED, size=self.size)

    def judged(self, model: nn.Module, loader: Batches) -> Mapping[str, float]:
        found = evaluate(model, loader)
        return {"accuracy": found.accuracy, "loss": found.loss}

    def views(self, count: int, size: int) -> Views:
        return Views(
            self.images, self.batch_size, views=count, seed=self.seed, size=size, flip=self.flip
        )


@dataclass(frozen=True)
class Boxes:
    """All parts of a data set of pictures with boxes."""

    name: str
    classes: tuple[str, ...]
    train: BoxSet
    val: BoxSet
    test: BoxSet

    def fingerprint(self) -> str:
        """SHA-256 of all pictures and targets, as that of :class:`prunekit.data.Dataset`."""
        parts = (self.train, self.val, self.test)
        pixels = sha256_of(*(tensor for p in parts for tensor in (p.images, p.targets)))
        return hashlib.sha256(f"{self.classes} {pixels}".encode()).hexdigest()


class Detection(Task):
    """Pictures with boxes, learnt by the detection loss and judged by average precision."""

    numbers = ("average_precision", "average_precision_11", "miss_rate")
    foreign = frozenset({"freeze", "final_relu", "batch_norm", "align", "graft"})
    foreign_tuning = frozenset({"label_smoothing", "temperature", "views"})

    @classmethod
    def load(cls, settings: Mapping[str, Any]) -> Boxes:
        train, val, test = cls.parts(settings["dataset"], settings["input_size"])
        # Somebody may be there whom the annotator overlooked, and the loss would make of them the
        # hardest negatives of all. Where networks are judged, every picture counts.
        train = train[(train.targets[..., 4] > 0).any(1)]
        return Boxes(settings["dataset"], CLASSES, train, val, test)

    @staticmethod
    def parts(name: str, size: int) -> tuple[BoxSet, BoxSet, BoxSet]:
        """Pictures to train on, to validate on, and to test on."""
        train, val, test = (
            load_voc(name, part, classes=CLASSES, size=size) for part in ("train", "val", "test")
        )
        return train, val, test

    def __init__(self, dataset: Boxes, settings: Mapping[str, Any], model: nn.Module) -> None:
        super().__init__(dataset, settings, model)
        self.train = BoxLoader(dataset.train, self.batch_size, shuffle=True, augment=True)
        self.val, self.test = (
            BoxLoader(part, EVALUATED_PICTURES) for part in (dataset.val, dataset.test)
        )
        maps = _maps(model)
        self.metadata, self.anchors = {"maps": maps}, ssd_anchors(maps)
        self.options = {
            "loss": partial(detection_loss, anchors=self.anchors),
            "evaluate": partial(_precision, anchors=self.anchors),
        }

    def judged(self, model: nn.Module, loader: Batches) -> Mapping[str, float]:
        return _precision(model, loader, self.anchors)

    def taught(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        weight = {k: v for k, v in settings.items() if k == "teacher_weight"}
        loss = partial(detection_distillation, anchors=self.anchors, **weight)
        return {k: v for k, v in settings.items() if k not in weight} | {"loss": loss}


class VOC2007(Detection):
    """PASCAL VOC 2007 (Everingham et al. 2010): its people, its test, and a draw from trainval.

    Raises
    ------
    FileNotFoundError
        It is not in the data folder, or not whole; the message says how to get it.
    """

    @staticmethod
    def parts(name: str, size: int) -> tuple[BoxSet, BoxSet, BoxSet]:
        try:
            both, test = (
                load_voc(name, part, classes=CLASSES, size=size) for part in ("trainval", "test")
            )
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error}. To fetch PASCAL VOC 2007, call torchvision.datasets.VOCDetection("
                f"'{data_folder() / name}', year='2007', image_set=part, download=True) with "
                "'trainval' and with 'test' as part"
            ) from error
        order = torch.randperm(len(both), generator=torch.Generator().manual_seed(DRAW))
        count = max(1, round(HELD_OUT * len(both)))
        return both[order[count:].sort()[0]], both[order[:count].sort()[0]], test


def _precision(model: nn.Module, loader: Batches, anchors: Tensor) -> dict[str, float]:
    found = vars(evaluate_detector(model, loader, anchors))
    return {name: found[name] for name in Detection.numbers}


def _maps(model: nn.Module) -> list[int]:
    """Sides of a detector's maps: a network read from a file knows them from there."""
    said = getattr(model, "maps", None) or getattr(model, "metadata", {}).get("maps")
    if said is None:
        raise ValueError(
            "the network that the run begins with does not say of which sides its maps are, by "
            'which its anchors are made: save it with {"maps": model.maps}'
        )
    return list(said)


#: Data sets that are not of images with labels.
TASKS: dict[str, type[Task]] = {"streets": Detection, "voc2007": VOC2007}


def task_of(dataset: str) -> type[Task]:
    """What is to be done on a data set: classification, where nothing else is said."""
    return TASKS.get(dataset, Classification)
