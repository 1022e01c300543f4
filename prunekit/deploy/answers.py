"""What a runner says, taken only if it is the answer to what was asked."""

from __future__ import annotations

from itertools import pairwise

from prunekit.deploy.rules import (
    Rule,
    boolean,
    each,
    exactly,
    loads,
    number,
    optional,
    record,
    text,
    whole,
)

#: A runner by the name it gives itself, and the engine whose files it runs.
RUNNERS = {"onnxruntime": "onnx", "executorch": "executorch"}
TIMES = ("min_ms", "median_ms", "p95_ms")
#: Runners print nine digits.
ROUNDING = 1e-6


def read(
    content: bytes,
    runner: str,
    models: list[dict],
    *,
    images: int,
    labelled: bool,
    threads: int,
    repeats: int,
    warmup: int,
) -> dict:
    """A runner's JSON, if it tells of these models, run in this way.

    Parameters
    ----------
    runner
        One of :data:`RUNNERS`.
    models
        The entries of the manifest that it was to run, in their order.
    images
        How many it was to compute.
    labelled
        Whether they have labels, and so an accuracy.

    Raises
    ------
    ValueError
        The answer is another; the message says where.
    """
    answer = loads(content)
    word = text(1000)
    record(
        runner=exactly(runner),
        **dict.fromkeys(("machine", "system", "cpu", "board", "governor"), word),
        threads=exactly(threads),
        models=each(
            *(_model(e, RUNNERS[runner], images, labelled, repeats, warmup) for e in models)
        ),
    )(answer, "answer")
    for model in answer["models"]:
        _refuse_contradictions(model)
    return answer


def _model(
    entry: dict, engine: str, images: int, labelled: bool, repeats: int, warmup: int
) -> Rule:
    tolerance = entry[engine]["tolerance"]
    return record(
        name=exactly(entry["name"]),
        precision=exactly(entry["precision"]),
        correct=boolean,
        max_error=optional(number(0)),
        tolerance=number(tolerance * (1 - 10 * ROUNDING), tolerance * (1 + 10 * ROUNDING)),
        accuracy=number(0, 1) if labelled else exactly(None),
        images=exactly(images),
        **dict.fromkeys(TIMES, number(0, 1e9)),
        repeats=exactly(repeats),
        warmup=exactly(warmup),
        peak_memory_kb=optional(whole(0, 1 << 40)),
    )


def _refuse_contradictions(model: dict) -> None:
    name, error, tolerance = model["name"], model["max_error"], model["tolerance"]
    if model["correct"]:
        contradicts = error is None or error > tolerance * (1 + ROUNDING)
    else:
        contradicts = error is not None and error < tolerance * (1 - ROUNDING)
    if contradicts:
        raise ValueError(
            f"answer.models: {name} is {'' if model['correct'] else 'not '}correct with an error "
            f"of {error} and a tolerance of {tolerance}"
        )
    times = [model[time] for time in TIMES]
    if any(b < a * (1 - ROUNDING) for a, b in pairwise(times)):
        raise ValueError(f"answer.models: the times of {name} are out of order: {times}")
