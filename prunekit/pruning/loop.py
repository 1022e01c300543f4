"""The loop of the thesis: rank, select, rebuild, fine-tune, record, and again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from prunekit.channels import trace
from prunekit.checks import checked
from prunekit.checks.batches import Batches, Loss
from prunekit.checks.settings import PRUNING, Budget, Cost, Floor, Method, Normalizer, PerLayer
from prunekit.criteria.ranking import ranked_layers
from prunekit.pruning.checkpoint import resume
from prunekit.pruning.history import PruningHistory, history_of
from prunekit.pruning.iterations import begun, example_inputs_of, iterations
from prunekit.pruning.plan import FineTune, Plan
from prunekit.pruning.schedule import Criteria
from prunekit.repair.calibration import inputs_in
from prunekit.selection import LEAST, caps_of, floors_of
from prunekit.storage.fingerprints import digest_of, digest_of_data, form_of, frozen_in
from prunekit.training import Interrupted
from prunekit.training.evaluation import Judge

Report = Callable[[nn.Module, list[dict[str, Any]]], None]
ONE_EPOCH = MappingProxyType({"epochs": 1, "lr": 0.01})
CHECKPOINT = "checkpoint.safetensors"


@checked(**PRUNING)
def prune(
    model: nn.Module,
    train_loader: Batches,
    val_loader: Batches,
    criterion: Criteria = "combined",
    ratio: float = 0.67,
    per_iteration: int = 128,
    *,
    loss: Loss | None = None,
    evaluate: Judge | None = None,
    share_per_iteration: float | None = None,
    normalize: Normalizer = "l2",
    repair: Method | None = None,
    fine_tune: FineTune | None = ONE_EPOCH,
    budget: Budget | Cost = "filters",
    cost_aware: bool = False,
    min_filters: Floor = LEAST,
    exclude: Iterable[str] = (),
    round_to: int | None = None,
    per_layer: PerLayer | None = None,
    rank_batches: int | None = None,
    max_accuracy_drop: float | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    report: Report | None = None,
    progress: bool = True,
) -> PruningHistory:
    """Prune a network step by step, fine-tuning after each (thesis, chapters 7 to 9).

    Parameters
    ----------
    model
        Left untouched.
    train_loader, val_loader
        Batches ``(x, y)``, iterated over many times. Filters are ranked and
        the network is fine-tuned on the first, accuracies are measured on the
        second. ``x`` may also be a tuple or a dictionary of the arguments of
        ``forward``.
    criterion
        As for :func:`prunekit.rank`. Or a schedule, a list of pairs of a
        share removed of what ``budget`` names and the criterion that ranks
        from there on: with ``[(0, "combined"), (0.4, "similarity_cosine")]``
        the second one ranks every iteration that begins with 40 % or more
        removed.
    ratio
        Share to remove, between 0 and 1, of what ``budget`` names.
    per_iteration
        Filters, or groups of coupled filters, that go in one iteration.
    loss
        Called as ``loss(output, y)`` for a task other than classification: a
        sum over examples, or one value each, as for :func:`prunekit.rank`. It
        ranks, and trains unless ``fine_tune`` says otherwise.
    evaluate
        Called as ``evaluate(model, val_loader)`` in place of the accuracy of a
        classifier, in evaluation mode. It gives numbers by name, as in
        ``{"mean_iou": 0.7, "pixels": 0.9}``: the first decides, higher being
        better, and all stand in the table, as ``mean_iou_before`` and
        ``mean_iou_after``.
    share_per_iteration
        In place of ``per_iteration``, a share of what ``budget`` names: with 0.1 and a ratio
        of 0.5 any criterion takes five iterations, and so is fine-tuned
        equally long. Not for a budget that is measured: latency, or a function.
    normalize
        As for :func:`prunekit.rank`.
    repair
        A method of :func:`prunekit.repair`, by which what is left is
        corrected after each removal, on the first images of
        ``train_loader``, before it is fine-tuned.
    fine_tune
        Arguments of :func:`prunekit.training.fit`, beside ``loss`` and
        ``evaluate``; or a function called as
        ``fine_tune(model, train_loader)`` that trains in place; or None.
        With ``"precision": "full"`` among them nothing here computes in
        bfloat16, as fine-tuning else does where it pays.
    budget
        ``"filters"`` (those of all layers that can lose any),
        ``"parameters"`` or ``"macs"``: the last iteration takes the fewest
        groups that reach the ratio. ``"latency"``: the time of a forward
        pass on one image as a share of the unpruned network's, measured
        after each iteration (see :func:`prunekit.pruning.budgets.relative_latency`);
        the run ends with the whole iteration that reaches the ratio, and
        another run may end an iteration sooner or later. Or a function,
        called as ``budget(model)`` before the first iteration and after each
        one, that gives what a network costs: milliseconds on a board, say, or
        in another runtime. The table's column ``cost`` has what it gave.
    cost_aware
        Select by score for each parameter or MAC that the removal of a group
        saves, not by score alone (see :func:`prunekit.pruning.budgets.per_saving`).
        It may cost much: it served the book's ResNets, and harmed MobileNetV2
        and SqueezeNet (``benchmarks/accuracy.py``, ``benchmarks/widths.py``).
        The widths of a knapsack over a scan of sensitivity, as ``min_filters``,
        know where a layer breaks (see :func:`prunekit.widths.knapsack`).
    min_filters, exclude, round_to, per_layer
        As for :func:`prunekit.select`, in each iteration anew.
    rank_batches
        Batches a ranking looks at; all by default.
    max_accuracy_drop
        Stop when the accuracy after fine-tuning (a fraction), or the first
        number of ``evaluate``, lies more than this below that of the unpruned
        network. The table shows the iteration that fell short; the model is
        the one before it.
    seed
        With the number of an iteration, it seeds the generators of torch, NumPy
        and Python as that begins, and with 0 before the network is judged as it
        is given.
    folder
        Where each iteration is written as it ends. A run with the same model,
        data and settings that finds one there goes on from it, and ends with
        the table of an unbroken run. A model is told by its weights and buffers,
        which of them are frozen, and the classes and public attributes of its
        modules, as in :func:`prunekit.training.fit`. A criterion or function of one's own is
        told by its code and by the values it holds; data by the loader's
        method ``fingerprint`` where it has one, by all batches of a list, else
        by the first batch.
    report
        Called as ``report(model, rows)`` with the network as it stands and the
        table so far, a dictionary a row: before the first iteration, after
        each one, and with the last one again when a run is resumed. It must
        leave the network as it is.

    Raises
    ------
    ValueError, TypeError
        A setting is out of range, an argument or a batch of the wrong type,
        outputs or labels are not those of a classifier where ``loss`` or
        ``evaluate`` is left out, or ``folder`` holds a run with other settings
        or a damaged file, which is left as it was.
    Interrupted
        Ctrl-C, a :class:`KeyboardInterrupt`. Its ``history`` is the
        :class:`PruningHistory` of the iterations before, ``folder`` holds
        them too.

    Warns
    -----
    UserWarning
        The floor was met before the ratio.

    Examples
    --------
    >>> import torch
    >>> from prunekit.models import TinySqueezeNet
    >>> batches = [(torch.randn(8, 3, 32, 32), torch.arange(8))]
    >>> history = prune(TinySqueezeNet(), batches, batches, "weight_l1", ratio=0.2,
    ...                 per_iteration=20, fine_tune=None, progress=False)
    >>> history.table["filters"].tolist()
    [184, 164, 147]
    """
    plan = Plan(
        criterion=criterion,
        loss=loss,
        evaluate=evaluate,
        ratio=ratio,
        per_iteration=per_iteration if share_per_iteration is None else None,
        share_per_iteration=share_per_iteration,
        normalize=normalize,
        repair=repair,
        fine_tune=fine_tune,
        budget=budget,
        cost_aware=cost_aware,
        min_filters=min_filters,
        exclude=tuple(exclude),
        round_to=round_to,
        per_layer=per_layer,
        rank_batches=rank_batches,
        max_accuracy_drop=max_accuracy_drop,
        seed=seed,
    )
    example_inputs = example_inputs_of(plan, model, train_loader)
    if repair is not None:
        next(inputs_in(model, train_loader, batches=1))  # what it cannot look at is refused now
    graph = trace(model, example_inputs)
    layers = ranked_layers(graph)
    if not layers:
        raise ValueError(f"no filter of {type(model).__name__} may be removed")
    # A name that matches no layer is refused now, not later.
    floors_of(layers, plan.min_filters, plan.exclude)
    caps_of(dict.fromkeys(layers, 0), plan.per_layer)
    checkpoint, settings = None, {}
    if folder is not None:
        checkpoint = Path(folder) / CHECKPOINT
        settings = plan.described() | {
            "starting_weights": digest_of(model),
            "network": form_of(model),
            "frozen": frozen_in(model),
            "train_data": digest_of_data(train_loader, "train_loader"),
            "val_data": digest_of_data(val_loader, "val_loader"),
        }
    if checkpoint is not None and checkpoint.is_file():
        run = resume(checkpoint, settings, model, example_inputs)
    else:
        run = begun(plan, model, val_loader, layers, example_inputs)
    if report is not None:
        report(run.model, run.rows)
    try:
        for _ in iterations(plan, run, model, train_loader, val_loader, progress=progress):
            if checkpoint is not None:
                run.write(checkpoint, settings)
            if report is not None and run.rebuilt == run.rows[-1]["iteration"]:
                report(run.model, run.rows)
    except KeyboardInterrupt as error:
        message = f"pruning was interrupted in iteration {len(run.rows)}"
        raise Interrupted(message, history_of(run, graph)) from error
    if run.stopped == "floor":
        fixed = ", ".join(f"{name}={value}" for name, value in plan.limits.items())
        warnings.warn(
            f"pruning ended at {run.share_removed(plan.column):.1%} of {plan.column}, before the "
            f"{ratio:.1%} asked for: no more can be removed with {fixed}",
            stacklevel=3,  # past the check of the arguments
        )
    return history_of(run, graph)
