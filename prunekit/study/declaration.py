"""A study as declared in a TOML file, and the runs it consists of."""

from __future__ import annotations

import inspect
import itertools
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from prunekit.adversarial import align
from prunekit.adversarial.candidates import Rule
from prunekit.checks import choice, number
from prunekit.checks.settings import PRECISIONS
from prunekit.grafting import fit_grafted
from prunekit.grafting.training import OF_AN_EPOCH
from prunekit.pruning import prune
from prunekit.study.tasks import task_of
from prunekit.training import fit
from prunekit.training.optimisation import check_warm_up
from prunekit.widths import abnormal_richness, allocate, mean_magnitudes

STUDIES = Path("book/studies")
SETTINGS = {
    "dataset": "cifar10",
    "input_size": 32,
    "batch_size": 128,
    "start": None,
    "fresh": None,
    "freeze": False,
    "final_relu": None,
    "batch_norm": None,
    "train": None,
    "prune": None,
    "widths": None,
    "align": None,
    "finish": None,
    "graft": None,
}
SMALLER = ("prune", "widths", "align")
TUNED = ("prune", "finish")
OF_THE_STUDY = {"title", "like", "seeds", "threads", "keep_model", "variants"}
VALUES = ("uniform", "entropy", "reversed", "permuted", "richness")


def _options(function: Callable[..., Any], *given: str) -> set[str]:
    """What a file may say of a function: all but what the run itself gives, and functions."""
    return set(inspect.signature(function).parameters) - {"model", "progress", *given}


FIT = _options(fit, "loader", "val_loader", "checkpoint", "loss", "evaluate", "penalty")
TAUGHT = {"teacher", "teacher_weight", "temperature"}  # of a fine-tuning alone
GIVEN_TO_PRUNE = ("train_loader", "val_loader", "seed", "folder", "report", "loss", "evaluate")
PRUNE = _options(prune, *GIVEN_TO_PRUNE)
ALLOCATE = _options(allocate, "example_inputs", "values")
MAGNITUDES = _options(mean_magnitudes, "graph", "scope")
RICHNESS = _options(abnormal_richness, "entropies", "magnitudes") | MAGNITUDES
WIDTHS = ALLOCATE | {"values", "scope", "keep", "draw", "richness"}
ALIGN = _options(align, "teacher", "loader", "val_loader", "discriminator", "seed", "folder")
CHOOSE = {"rule", "ratio"}
GRAFT = _options(fit_grafted, "models", "loader", "val_loader", "seed", "folder") | {"networks"}


@dataclass(frozen=True)
class Study:
    """Experiments that belong together.

    Attributes
    ----------
    name : str
        That of its file, without the suffix.
    title : str
        One line for people.
    runs : dict
        For each run, by name (``"<variant>-seed<seed>"``), all its settings:
        ``variant``, ``seed`` and the keys of ``SETTINGS``. Nothing else
        decides what a run computes, but the data and the starting weights.
    threads : int
        Threads of one run.
    keep_model : bool or "half"
        Whether the networks that each run reports are results, too: the last
        as ``model.safetensors`` in the folder of the run, any other there as
        ``<ratio>/model.safetensors``; ``"half"`` keeps them at half the bytes.
    """

    name: str
    title: str
    runs: dict[str, dict[str, Any]]
    threads: int = 1
    keep_model: bool | str = False


def read_studies(name: str | Path, folder: str | Path = STUDIES) -> list[Study]:
    """The studies that a file lists under ``studies``, in order, or the one that it declares.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_study`, of the file or of one that it lists.

    Examples
    --------
    >>> [study.name for study in read_studies("smoke")]
    ['smoke']
    """
    path = _path(name, folder)
    declared = _read(path)
    if "studies" not in declared:
        return [read_study(path)]
    _refuse_unknown(declared, {"title", "studies"}, path)
    return [read_study(one, path.parent) for one in declared["studies"]]


def read_study(name: str | Path, folder: str | Path = STUDIES) -> Study:
    """Read a study file.

    The file holds any of the settings ``dataset``, ``input_size`` (pixels),
    ``batch_size``, ``start`` (``imagenet``, ``random``, ``tiny``, a name
    of ``prunekit.models.CIFAR_MODELS``, ``efficientnet_lite0``, for a detector ``pedestrian``,
    ``ssdlite_squeezenet`` with a backbone from ImageNet, or ``tiny_ssdlite``,
    or the folder of a recorded network under the results,
    in which ``{seed}`` stands for the run's), ``fresh`` (true draws
    its weights anew, and leaves the widths), ``freeze``
    (only the classifier learns), ``final_relu`` (false takes away a
    SqueezeNet's ReLU on its class maps), ``batch_norm`` (true puts batch norm
    behind the convolutions for the run, and folds it in what is reported),
    ``train`` (arguments of :func:`prunekit.training.fit`), ``prune`` (arguments
    of :func:`prunekit.prune`) and ``finish`` (``ratios`` at which the network
    is fine-tuned longer, by ``fine_tune``, and reported: shares of what
    ``prune.budget`` names; without ``ratios``, the last one is). ``seeds`` and
    the list ``variants``, each with a ``name`` and settings of its own, span
    the runs. ``like`` names a study whose settings hold where the file is
    silent.

    In place of ``prune``, a network is made small at once by

    - ``widths``, arguments of :func:`prunekit.widths.allocate`: ``values`` is
      ``"entropy"``, ``"uniform"``, ``"reversed"`` (one over the entropy),
      ``"permuted"`` (entropies of other layers, by the number ``draw``, or
      else by the seed) or ``"richness"`` (with ``richness``, arguments of
      :func:`prunekit.widths.abnormal_richness` and of ``mean_magnitudes``);
      ``scope`` says of which units; ``keep`` is the criterion by which filters
      of a layer stay, ``"weight_l1"`` by default. Or by
    - ``align``, arguments of :func:`prunekit.adversarial.align`, whose
      ``penalty`` may be a list: candidates of all are pooled. ``choose`` has
      the ``rule`` of :func:`prunekit.adversarial.choose`, and the ``ratio`` of
      MACs that is gone at the end: of the candidates that have lost no more,
      the chosen one also loses channels of lowest scale until it has.

    In place of ``finish``, ``graft`` trains so many ``networks`` side by side,
    copies of that one, by the arguments of
    :func:`prunekit.grafting.fit_grafted`, and reports the one that is best on
    validation at the end. One network alone is the control.

    ``prune.fine_tune = false`` leaves a network as removal, and repair, left
    it. Where it is fine-tuned, ``teacher`` is ``"unpruned"``, for the one
    the run begins with, a recorded network's folder, or a list of such; with
    ``views``, they answer so many fixed views of each image once, each at the
    size it was trained with.

    On the data sets ``streets`` and ``voc2007`` networks are detectors of people: they learn by
    :func:`prunekit.detection.detection_loss`, which ranks them too, with a
    teacher by ``detection_distillation``, and are judged by average precision.

    Parameters
    ----------
    name
        A path that ends in ``.toml``, or the name of a file in ``folder``
        without the suffix.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is not TOML, or holds a key that means nothing; the message names it.

    Examples
    --------
    >>> list(read_study("smoke").runs)[:2]
    ['activation_l2-seed0', 'activation_l2-seed1']
    """
    path = _path(name, folder)
    declared = _read(path)
    _refuse_unknown(declared, set(SETTINGS) | OF_THE_STUDY, path)
    if declared.get("keep_model", False) not in (True, False, "half"):
        raise ValueError(f'{path}: keep_model must be true, false or "half"')
    variants = declared.get("variants") or [{"name": path.stem}]
    shared = SETTINGS | {key: value for key, value in declared.items() if key in SETTINGS}
    runs: dict[str, dict[str, Any]] = {}
    for variant, seed in itertools.product(variants, declared.get("seeds", [0])):
        if "name" not in variant:
            raise ValueError(f"{path}: each of variants needs a name")
        own = {key: value for key, value in variant.items() if key != "name"}
        _refuse_unknown(own, set(SETTINGS), path)
        settings = _merged(shared, own)
        _check(settings, path)
        run = f"{variant['name']}-seed{seed}"
        if run in runs:
            raise ValueError(f"{path}: two runs are named {run}")
        start = settings["start"].replace("{seed}", str(seed))
        runs[run] = {"variant": variant["name"], "seed": seed} | settings | {"start": start}
    return Study(
        path.stem,
        declared.get("title", path.stem),
        runs,
        declared.get("threads", 1),
        declared.get("keep_model", False),
    )


def _path(name: str | Path, folder: str | Path) -> Path:
    return Path(name) if Path(name).suffix == ".toml" else Path(folder) / f"{name}.toml"


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.toml"))) or "none"
        raise FileNotFoundError(f"{path} does not exist; studies in its folder: {known}")
    try:
        declared = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    if "like" in declared:
        declared = _merged(_read(path.with_name(f"{declared['like']}.toml")), declared)
    return declared


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with what ``own`` says in its place, tables merged key by key."""
    result = dict(base)
    for key, value in own.items():
        both = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        result[key] = _merged(base[key], value) if both else value
    return result


def _check(settings: Mapping[str, Any], path: Path) -> None:
    if settings["start"] is None:
        raise ValueError(f"{path}: start is missing: what network does the study begin with?")
    work = (*SMALLER, "train", "finish", "graft")
    if not any(settings[key] for key in work):
        raise ValueError(f"{path}: none of {', '.join(work)}: there is nothing to run")
    for one_of in (SMALLER, ("finish", "graft")):
        if len(both := [key for key in one_of if settings[key]]) > 1:
            raise ValueError(f"{path}: {' and '.join(both)} stand in place of one another")
    _check_at_once(settings, path)
    _check_task(settings, path)
    pruning, finish = settings["prune"] or {}, settings["finish"] or {}
    _refuse_unknown(settings["train"] or {}, FIT - TAUGHT, path)
    _refuse_unknown(pruning, PRUNE, path)
    if pruning and (missing := {"criterion", "ratio", "fine_tune"} - set(pruning)):
        raise ValueError(f"{path}: prune must say {', '.join(sorted(missing))}")
    if pruning and len({"per_iteration", "share_per_iteration"} & set(pruning)) != 1:
        raise ValueError(f"{path}: prune must say per_iteration or share_per_iteration")
    _refuse_unknown(finish, {"ratios", "fine_tune"}, path)
    if beyond := [ratio for ratio in finish.get("ratios", ()) if ratio > pruning.get("ratio", 0)]:
        raise ValueError(f"{path}: finish asks for ratios that prune never reaches: {beyond}")
    if "ratios" in finish and not pruning:
        raise ValueError(f"{path}: finish asks for ratios, which only prune passes through")
    if "ratios" in finish and pruning.get("budget") == "latency":
        raise ValueError(f"{path}: finish cannot ask for ratios of latency: a time is not exact")
    for fine_tune in ((settings[key] or {}).get("fine_tune") or {} for key in TUNED):
        _refuse_unknown(fine_tune, FIT | {"views"}, path)
        _check_schedule(fine_tune, path)
    _check_schedule(settings["train"] or {}, path)


def _check_task(settings: Mapping[str, Any], path: Path) -> None:
    task, dataset = task_of(settings["dataset"]), settings["dataset"]
    found = sorted(key for key in task.foreign if settings[key] not in (None, False))
    tables = [settings["train"], *((settings[key] or {}).get("fine_tune") for key in TUNED)]
    found += sorted(key for key in task.foreign_tuning if any(key in (t or {}) for t in tables))
    if found:
        raise ValueError(f"{path}: {', '.join(found)} means nothing on {dataset}")


def _check_schedule(tuning: Mapping[str, Any], path: Path) -> None:
    """Refuse here what training would refuse only when a run comes to it, hours later."""
    said = {name: option.default for name, option in inspect.signature(fit).parameters.items()}
    said |= tuning
    try:
        check_warm_up(said["schedule"], said["epochs"], said["warm_up"])
        choice("precision", said["precision"], among=PRECISIONS)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_at_once(settings: Mapping[str, Any], path: Path) -> None:
    widths, aligning, grafting = (settings[key] or {} for key in ("widths", "align", "graft"))
    _refuse_unknown(widths, WIDTHS, path)
    _refuse_unknown(widths.get("richness", {}), RICHNESS, path)
    if widths and (missing := {"values", "ratio"} - set(widths)):
        raise ValueError(f"{path}: widths must say {', '.join(sorted(missing))}")
    if widths and widths["values"] not in VALUES:
        raise ValueError(f"{path}: values of widths must be one of {', '.join(VALUES)}")
    _refuse_unknown(aligning, ALIGN | {"choose"}, path)
    how = aligning.get("choose", {})
    _refuse_unknown(how, CHOOSE, path)
    try:  # both are asked for when an alignment ends, hours later
        choice("rule", how.get("rule", "harmonic"), among=get_args(Rule))
        number("ratio", how.get("ratio", 0.5), above=0, below=1)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: choose of align: {error}") from error
    _refuse_unknown(grafting, GRAFT, path)
    _refuse_unknown(grafting.get("training", {}), set(OF_AN_EPOCH) - TAUGHT, path)


def _refuse_unknown(declared: Mapping[str, Any], known: set[str], path: Path) -> None:
    if unknown := sorted(set(declared) - known):
        raise ValueError(
            f"{path}: {', '.join(unknown)} means nothing there; known: {', '.join(sorted(known))}"
        )
