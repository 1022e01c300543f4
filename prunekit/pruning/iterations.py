"""One iteration of the loop after the other, as a plan asks for them."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from typing import Any

from torch import nn

from prunekit.channels import trace
from prunekit.checks import number
from prunekit.checks.batches import Batches, no_batch, taught
from prunekit.checks.settings import Cost
from prunekit.checks.structures import examples_of, first_examples
from prunekit.criteria.ranking import adding_up, rank, ranked_layers, two_examples
from prunekit.execution import evaluation_mode
from prunekit.losses import summed_cross_entropy
from prunekit.progress import say
from prunekit.pruning.budgets import counted, enough, left, per_saving, relative_latency
from prunekit.pruning.checkpoint import Run, plain_layout
from prunekit.pruning.plan import Plan
from prunekit.pruning.schedule import criterion_at, ranked_by, reached
from prunekit.repair import repair
from prunekit.selection import select
from prunekit.storage.generators import mixed_seed, seed_generators, seeded
from prunekit.surgery import rebuild
from prunekit.training import evaluate, fit
from prunekit.training.evaluation import numbers_by


def example_inputs_of(plan: Plan, model: nn.Module, loader: Batches) -> tuple:
    """The first two examples of a loader, as the arguments of ``forward``."""
    labels = plan.loss is None and plan.evaluate is None
    for x, _, _ in taught(loader, "train_loader", labels=labels):
        return two_examples(model, x, "batch 0 of train_loader")
    raise no_batch("train_loader", "rank on")


def iterations(
    plan: Plan,
    run: Run,
    original: nn.Module,
    train_loader: Batches,
    val_loader: Batches,
    *,
    progress: bool = False,
) -> Iterator[Run]:
    """Go on with a run, an iteration at a time, and give it after each.

    Parameters
    ----------
    run
        Changed in place. It ends with ``run.stopped``.
    original
        The network before pruning, which latencies are compared with.
    """
    example_inputs = example_inputs_of(plan, original, train_loader)
    layers = ranked_layers(trace(original, example_inputs))
    measure = _measure(plan, original, example_inputs)
    while not run.stopped:
        start, iteration = time.perf_counter(), len(run.rows)
        seed_generators(mixed_seed(plan.seed, iteration))
        # A pruned network may measure slower than the original: then nothing is gone yet.
        chosen = criterion_at(plan.criterion, max(0.0, run.share_removed(plan.column)))
        graph = trace(run.model, example_inputs)
        if not ranked_layers(graph):
            run.stopped = "floor"
            return
        ranking = rank(
            run.model,
            train_loader,
            chosen,
            batches=plan.rank_batches,
            loss=plan.loss or summed_cross_entropy,
            normalize=plan.normalize,
            graph=graph,
            progress=progress,
        )
        if plan.cost_aware and isinstance(plan.budget, str):
            of_filters = adding_up(ranking, chosen)
            ranking = per_saving(of_filters, run.model, example_inputs, plan.budget)
        count = enough(run, ranking, plan, example_inputs, iteration)
        if not count:
            run.stopped = "floor"
            return
        selection = select(ranking, count, **plan.limits_of(ranking))
        smaller = rebuild(run.model, graph, selection)
        if plan.repair is not None:
            smaller = repair(
                smaller, run.model, selection, train_loader, method=plan.repair, progress=progress
            )
        before = after = _judged(plan, smaller, val_loader)
        if plan.fine_tune is not None:
            _tune(plan, smaller, train_loader, progress)
            after = _judged(plan, smaller, val_loader)
        plain_layout(smaller)
        row: dict[str, Any] = {"iteration": iteration, "removed": selection.filters}
        row |= ranked_by(plan.criterion, chosen) | left(smaller, layers, example_inputs)
        if plan.measured:
            row[plan.column] = measure(smaller)
        row |= _before_and_after(before, after)
        if {*row, "seconds"} != run.rows[0].keys():
            raise ValueError(
                f"evaluate gave the numbers {', '.join(after)} and others before: they must be the "
                "same each time"
            )
        run.rows.append(row | {"seconds": time.perf_counter() - start})
        run.removed.append(selection)
        say(_line(run.rows), progress)
        decides = f"{deciding(run.rows)}_after"
        drop = run.rows[0][decides] - run.rows[-1][decides]
        if plan.max_accuracy_drop is not None and not reached(plan.max_accuracy_drop, drop):
            run.stopped = "accuracy"
        else:
            run.model, run.rebuilt = smaller, iteration
            if reached(run.share_removed(plan.column), plan.ratio):
                run.stopped = "ratio"
        yield run


def begun(
    plan: Plan, model: nn.Module, val_loader: Batches, layers: list[str], example_inputs: tuple
) -> Run:
    """A run before its first iteration: row 0 is the network as it is given."""
    start, original = time.perf_counter(), copy.deepcopy(model)
    with seeded(mixed_seed(plan.seed, 0)):  # what is refused here has changed nothing
        judged = _judged(plan, original, val_loader)
    row = {"iteration": 0, "removed": 0} | ranked_by(plan.criterion, None)
    row |= left(original, layers, example_inputs)
    counted(row.get(plan.column, 1), plan.column)
    if plan.measured:
        cost = _measure(plan, original, example_inputs)
        row[plan.column] = 1.0 if plan.budget == "latency" else cost(original)
    row |= _before_and_after(judged, judged)
    return Run(original, [row | {"seconds": time.perf_counter() - start}])


def _measure(plan: Plan, original: nn.Module, example_inputs: tuple) -> Cost:
    """What tells the cost of a network, where it is measured and not counted."""
    if plan.budget == "latency":
        unpruned = copy.deepcopy(original)
        plain_layout(unpruned)
        one = first_examples(example_inputs, examples_of(example_inputs) or 0, 1)
        return lambda model: relative_latency(model, unpruned, one)

    def cost_of(model: nn.Module) -> float:
        assert callable(plan.budget)
        with evaluation_mode(model):
            return number("the cost that budget gave", plan.budget(model), above=0, below=math.inf)

    return cost_of


def _tune(plan: Plan, model: nn.Module, loader: Batches, progress: bool) -> None:
    if callable(plan.fine_tune):
        plan.fine_tune(model, loader)
    else:
        fit(model, loader, **{"progress": progress} | plan.tuning)


def _judged(plan: Plan, model: nn.Module, loader: Batches) -> dict[str, float]:
    """What a network is judged by, under names; the first number decides."""
    if plan.evaluate is None:
        return {"accuracy": evaluate(model, loader).accuracy}
    return numbers_by(plan.evaluate, model, loader)


def _before_and_after(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """The columns that say how well a network does before it is fine-tuned, and after."""
    columns = {f"{name}_before": number for name, number in before.items()}
    return columns | {f"{name}_after": number for name, number in after.items()}


def deciding(rows: list[dict[str, Any]]) -> str:
    """The name of the number that decides, the first that row 0 holds."""
    return next(name for name in rows[0] if name.endswith("_before")).removesuffix("_before")


def _line(rows: list[dict[str, Any]]) -> str:
    row, name = rows[-1], deciding(rows)
    return (
        f"iteration {row['iteration']}: {row['filters']} filters, {row['parameters']:,} parameters "
        f"left; {name} {row[f'{name}_before']:.4f}, fine-tuned {row[f'{name}_after']:.4f}; "
        f"{row['seconds']:.1f} s"
    )
