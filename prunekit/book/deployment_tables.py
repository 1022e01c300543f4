"""The recorded tables of deployment, as the chapters show them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from prunekit.book import BOOK
from prunekit.book.captions import origin

FOLDER = BOOK / "results" / "deployment"
DETECTOR = BOOK / "results" / "deployment_detector"
ENGINES = ("pytorch", "torch.compile", "onnxruntime", "executorch")
TRAINED = ("original", "pruned")


def table(name: str) -> pd.DataFrame:
    """One recorded table: ``files``, ``instructions``, ``latency`` or ``layers``."""
    return pd.read_csv(_recorded(f"{name}.csv"))


def detector_table() -> pd.DataFrame:
    """The pedestrian detector on its way to a board: whole and half, in 32 and 8 bits.

    Columns: ``model``, ``precision``, ``bytes`` and ``average_precision`` (of
    ExecuTorch's file, on the validation pictures), ``instructions`` (a picture,
    on a Cortex-A57), ``max_error`` (of any number, between that core and the
    host) and ``ms <engine>`` (least of all runs on the host).
    """
    keys = ["model", "precision"]
    files = _detector("files")
    files = files[files["engine"] == "executorch"]
    counts = _detector("instructions")
    times = _detector("latency")
    times = times.pivot_table(index=keys, columns="engine", values="min_ms").add_prefix("ms ")
    times = times.dropna()
    result = files[[*keys, "bytes", "average_precision"]]
    result = result.merge(counts[[*keys, "instructions", "max_error"]], on=keys)
    return result.merge(times.reset_index(), on=keys)


def decoding_table() -> pd.DataFrame:
    """From a detector's numbers to boxes, by ``model``, ``use`` and ``program``.

    The use is ``shown`` or ``scored``; the program is that of the ``board``,
    in numpy, or the ``library``'s. Columns ``boxes``, of which suppression
    chooses, and ``min_ms``, both the mean over pictures.
    """
    times = _detector("decoding").set_index(["model", "use", "program"]).sort_index()
    return times[["boxes", "min_ms"]]


def widths_table() -> pd.DataFrame:
    """Detectors cut alike, ``any`` widths or ``eights``: ``macs`` and ``ms <engine>``."""
    times = _detector("latency").query("model in ('any', 'eights')")
    rows = times.pivot_table(index="model", columns="engine", values="min_ms").add_prefix("ms ")
    return rows.assign(macs=times.groupby("model")["macs"].first())


def detector_in_words() -> list[str]:
    """What the tables of the detector say, a sentence each, with the figures in them."""
    board = detector_table().set_index(["model", "precision"])
    plain = board.xs("fp32", level="precision")
    left = plain.loc["half"] / plain.loc["whole"]
    precision = _detector("files").set_index(["engine", "model", "precision"])
    precision = 100 * precision["average_precision"]
    decoding, widths = decoding_table(), widths_table()
    worst = board.groupby("precision")["max_error"].max()
    agreed = "to the bit" if worst["int8"] == 0 else f"to {worst['int8']:.1e}"
    return [
        f"Without half of its MACs the detector keeps {left['bytes']:.0%} of the bytes, "
        f"{left['instructions']:.0%} of the instructions and {left['ms executorch']:.0%} of the "
        "milliseconds, in 32 bits.",
        f"In ONNX Runtime it keeps {left['ms onnxruntime']:.0%} of the milliseconds.",
        "It is the widths: cut by one and the same rule, "
        + " and ".join(
            f"with {words} ({widths.loc[name, 'macs'] / 1e6:.0f} million MACs) it takes "
            f"{widths.loc[name, 'ms onnxruntime']:.0f} ms there"
            for name, words in {"any": "widths as they come", "eights": "multiples of 8"}.items()
        )
        + ".",
        *(
            f"Eight bits take the {model} detector from {precision['pytorch', model, 'fp32']:.1f} "
            f"to {precision['executorch', model, 'int8']:.1f} % average precision in ExecuTorch, "
            f"and to {precision['onnxruntime', model, 'int8']:.1f} % in ONNX Runtime."
            for model in ("whole", "half")
        ),
        *(_decoding_in_words(decoding.loc[model], model) for model in ("whole", "half")),
        f"The emulated core agrees with this computer {agreed} in eight bits, and to "
        f"{worst['fp32']:.1e} in 32.",
    ]


def _decoding_in_words(times: pd.DataFrame, model: str) -> str:
    ms, boxes = times["min_ms"], times["boxes"]["scored", "board"]
    return (
        f"From the two tensors to boxes the board's program takes {ms['shown', 'board']:.1f} ms "
        f"with the {model} detector where boxes of 0.5 and more are shown, and "
        f"{ms['scored', 'board']:.1f} ms where all of 0.01 and more are scored: these are "
        f"{boxes:,.0f} a picture. The library, with torchvision's suppression, takes "
        f"{ms['shown', 'library']:.1f} and {ms['scored', 'library']:.1f} ms."
    )


def detector_caption() -> str:
    """A line for each table of the detector that says where it comes from."""
    lines = []
    for name in ("files", "instructions", "latency", "decoding"):
        record = json.loads(_recorded(f"{name}.json", DETECTOR).read_text("utf-8"))
        lines.append(f"- {origin(f'Recorded table `{name}`', [record])}")
    return "\n".join(lines)


def caption(name: str) -> str:
    """One line that says where a recorded table comes from."""
    record = json.loads(_recorded(f"{name}.json").read_text("utf-8"))
    networks = f"`{record['original']}` and, pruned, `{record['pruned']}`"
    return origin(f"Recorded table `{name}`, networks {networks}", [record])


def test_accuracies() -> pd.Series:
    """The share of the test images that each trained network has right, in float32, as recorded."""
    names = json.loads(_recorded("files.json").read_text("utf-8"))
    return pd.Series({model: _on_test(Path(names[model])) for model in TRAINED})


def _on_test(network: Path) -> float:
    """Of a reported network, named by study and run, and by its ratio unless it is the last."""
    study, run, *ratio = network.parts
    rows = pd.read_csv(FOLDER.parent / study / "networks.csv")
    rows = rows[rows["variant"] + "-seed" + rows["seed"].astype(str) == run]
    if ratio:
        rows = rows[rows["ratio"] == float(ratio[0])]
    return float(rows["test_accuracy"].iloc[-1])


def with_accuracy(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows by ``model`` and ``precision`` with ``val_accuracy`` and ``test_accuracy`` beside them.

    The first is that of ExecuTorch's file in this precision, on the validation
    images; the second that of the network in float32, on the test images,
    which no file in eight bits has seen. Both are not a number for networks
    that were cut and not trained again.
    """
    keys = ["model", "precision"]
    files = table("files")
    files = files[files["engine"] == "executorch"].rename(columns={"accuracy": "val_accuracy"})
    result = rows.merge(files[[*keys, "val_accuracy"]], on=keys, how="left")
    tested = result["model"].map(test_accuracies()).where(result["precision"] == "fp32")
    return result.assign(test_accuracy=tested)


def accuracies() -> str:
    """What share of validation and test images the trained networks have right, in words."""
    files = table("files")
    right = files[files["engine"] == "executorch"].set_index(["model", "precision"])["accuracy"]
    original, pruned = (right[model] for model in TRAINED)
    return (
        f"Of the validation images the original has {original['fp32']:.1%} right, and "
        f"{original['int8']:.1%} in eight bits; the pruned network {pruned['fp32']:.1%} and "
        f"{pruned['int8']:.1%}. {on_test_images()}"
    )


def on_test_images() -> str:
    """What share of the test images the trained networks have right, in a sentence."""
    original, pruned = test_accuracies()[list(TRAINED)]
    return (
        f"Of the test images, in float32, the original has {original:.1%} right and the pruned "
        f"network {pruned:.1%}."
    )


def times_faster() -> pd.Series:
    """By what factor the pruned network's least time is below the original's, by engine, float32.

    One image, one thread of the recording machine.
    """
    times = table("latency").query("precision == 'fp32'").pivot_table("min_ms", "engine", "model")
    return (times["original"] / times["pruned"])[[e for e in ENGINES if e in times.index]]


def summary() -> pd.DataFrame:
    """A row for each trained network and precision: size, accuracy, time by engine, instructions.

    Columns: ``model``, ``precision``, ``parameters``, ``macs``, ``bytes`` (of
    ExecuTorch's file), ``val_accuracy`` and ``test_accuracy`` (as
    :func:`with_accuracy` adds them), ``ms <engine>`` (least of all runs on the
    host), ``<core>`` (instructions an inference).
    """
    files = table("files")
    files = files[files["engine"] == "executorch"]
    keys = ["model", "precision"]
    result = with_accuracy(files[[*keys, "parameters", "macs", "bytes"]])
    times = table("latency").pivot_table(index=keys, columns="engine", values="min_ms")
    times = times[[engine for engine in ENGINES if engine in times]].add_prefix("ms ")
    counts = table("instructions").pivot_table(index=keys, columns="core", values="instructions")
    return result.merge(times.reset_index(), on=keys).merge(counts.reset_index(), on=keys)


def savings() -> pd.DataFrame:
    """What is left of time and instructions against what is left of the MACs, float32 and int8.

    Columns ``series``, ``precision``, ``model``, ``macs_left``, ``cost_left``;
    the networks with rounded widths are left out.
    """
    counts = table("instructions").rename(columns={"core": "series", "instructions": "cost"})
    counts["series"] = "instructions, " + counts["series"].str.replace("cortex-a", "Cortex-A")
    times = table("latency").rename(columns={"engine": "series", "min_ms": "cost"})
    times = times[times["series"].isin(["onnxruntime", "executorch"])]
    names = {"onnxruntime": "ONNX Runtime", "executorch": "ExecuTorch"}
    times["series"] = "host time, " + times["series"].map(names)
    columns = ["series", "precision", "model", "macs", "cost"]
    both = pd.concat([counts[columns], times[columns]])
    both = both[~both["model"].str.startswith("round-")]
    first = both[both["model"] == "original"].set_index(["series", "precision"])
    keys = pd.MultiIndex.from_frame(both[["series", "precision"]])
    both["macs_left"] = both["macs"] / first["macs"].reindex(keys).to_numpy()
    both["cost_left"] = both["cost"] / first["cost"].reindex(keys).to_numpy()
    return both.drop(columns=["macs", "cost"]).reset_index(drop=True)


def rounding() -> pd.DataFrame:
    """Costs of one ratio with widths of any number, and of multiples of 4 and 8.

    Columns ``model``, ``cost``, ``left`` (of the original, float32). Empty if
    only the trained networks are recorded.
    """
    counts = table("instructions")
    times = table("latency")
    counts, times = (t[t["precision"] == "fp32"] for t in (counts, times))
    wanted = {"cut-67": "any width", "round-4": "multiples of 4", "round-8": "multiples of 8"}
    rows = []
    for name, label in wanted.items():
        for cost, source, column in (
            ("filters", counts[counts["core"] == "cortex-a53"], "filters"),
            ("parameters", counts[counts["core"] == "cortex-a53"], "parameters"),
            ("MACs", counts[counts["core"] == "cortex-a53"], "macs"),
            ("instructions\nA53", counts[counts["core"] == "cortex-a53"], "instructions"),
            ("instructions\nA72", counts[counts["core"] == "cortex-a72"], "instructions"),
            ("ONNX Runtime\ntime", times[times["engine"] == "onnxruntime"], "min_ms"),
            ("ExecuTorch\ntime", times[times["engine"] == "executorch"], "min_ms"),
        ):
            values = source.set_index("model")[column]
            if name in values:
                left = values[name] / values["original"]
                rows.append({"model": label, "cost": cost, "left": left})
    return pd.DataFrame(rows, columns=["model", "cost", "left"])


def before_and_after() -> pd.DataFrame:
    """Original and pruned, in instructions and in milliseconds: figure 10.8 of the thesis anew.

    Columns ``unit``, ``where``, ``model``, ``value`` and ``test_accuracy``, that
    of the network in float32; a board's own rows may be appended with
    :func:`board_rows`.
    """
    counts = table("instructions")
    counts = counts[counts["model"].isin(TRAINED)]
    rows = [
        {"unit": "million instructions", "where": f"{r.core[7:].upper()}\n{r.precision}"}
        | {"model": r.model, "value": r.instructions / 1e6}
        for r in counts.itertuples()
    ]
    times = table("latency")
    times = times[times["model"].isin(TRAINED) & (times["engine"] == "executorch")]
    rows += [
        {"unit": "milliseconds", "where": f"this host\n{r.precision}"}
        | {"model": r.model, "value": r.min_ms}
        for r in times.itertuples()
    ]
    found = pd.DataFrame(rows)
    return found.assign(test_accuracy=found["model"].map(test_accuracies()))


def board_rows(result: dict) -> pd.DataFrame:
    """What :func:`prunekit.deploy.run` brought back from a board, as rows of the figure.

    Examples
    --------
    >>> one = {"name": "pruned-int8", "precision": "int8", "median_ms": 1.5}
    >>> board_rows({"core": "Cortex-A72", "models": [one]})["value"].tolist()
    [1.5]
    """
    return pd.DataFrame(
        {
            "unit": "milliseconds",
            "where": f"{result['core']}\n{model['precision']}",
            "model": model["name"].rpartition("-")[0],
            "value": model["median_ms"],
        }
        for model in result["models"]
    )


def _detector(name: str) -> pd.DataFrame:
    return pd.read_csv(_recorded(f"{name}.csv", DETECTOR))


def _recorded(name: str, folder: Path | None = None) -> Path:
    path = (folder or FOLDER) / name
    if not path.is_file():
        program = "deployment" if folder is None else "detector_deployment"
        step = name.partition(".")[0]
        raise FileNotFoundError(
            f"{path} is not recorded: run `python -m prunekit.book.{program} {step}`"
        )
    return path
