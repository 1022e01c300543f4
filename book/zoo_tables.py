"""Make the tables of zoo.md from what `make zoo` recorded in benchmarks/results.

python book/zoo_tables.py
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
from torchvision import models

from prunekit.storage.files import write_table

BOOK = Path(__file__).resolve().parent
RECORDED = BOOK.parent / "benchmarks" / "results" / "zoo.csv"
OF_TIMM = RECORDED.with_name("timm_zoo.csv")
SMALL = 30e6  # parameters: below this, planning is to take less than two seconds
NEGLIGIBLE = 1e-3  # of the scores: a removal that changes them by less tests nothing
LARGE = 23.5e6  # parameters of ResNet-50: from here on it is to take half of torch-pruning's time

SIZES = (0, 2, 5, 10, 23.5, 40)  # millions of parameters

# The least and the most layers of three families.
GROWTH = (
    "resnet18",
    "resnet152",
    "densenet121",
    "densenet201",
    "efficientnet_b0",
    "efficientnet_b7",
)

Row = dict[str, str]  # a field that does not apply is empty


def measured(row: Row) -> Row:
    """The line of a network that was pruned, or should have been."""
    line = {"Network": row["model"]}
    if row.get("error"):
        return line | {"Largest difference": f"failed: {row['error']}"}
    return line | {
        "Parameters (M)": f"{float(row['parameters']) / 1e6:.1f}",
        "Prunable filters": row["prunable_filters"].removesuffix(".0"),
        "Groups": row["groups"].removesuffix(".0"),
        "Trace (s)": f"{float(row['trace_s']):.2f}",
        "Rebuild (s)": f"{float(row['rebuild_30_s']):.2f}",
        "Largest difference": f"{float(row['difference']):.0e}",
        **by_torch_pruning(row),
    }


def by_torch_pruning(row: Row) -> Row:
    """What became of the same removal there."""
    taken = "over 60" if "longer" in row.get("torch_pruning_error", "") else "fails"
    if row["torch_pruning_s"]:
        taken = f"{float(row['torch_pruning_s']):.2f}"
    return {"torch-pruning (s)": taken, "Same result": row["torch_pruning_agrees"]}


def growth(rows: list[Row]) -> list[Row]:
    """Milliseconds a layer: a number that depth leaves alone is time that grows linearly."""
    found = {row["model"]: row for row in rows}

    def milliseconds_a_layer(row: Row, column: str) -> str:
        seconds = row.get(column)
        return f"{1000 * float(seconds) / float(row['layers']):.1f}" if seconds else ""

    return [
        {
            "Network": name,
            "Layers": found[name]["layers"].removesuffix(".0"),
            "Rebuild (ms a layer)": milliseconds_a_layer(found[name], "rebuild_30_s"),
            "torch-pruning (ms a layer)": milliseconds_a_layer(found[name], "torch_pruning_s"),
        }
        for name in GROWTH
        if name in found
    ]


def left_out(rows: list[Row], known: list[str]) -> list[Row]:
    """The networks without a line in the table, and why; one line if there is none."""
    reasons = {row["model"]: row.get("left_out", "") for row in rows}
    reasons = {name: reasons.get(name, "not measured yet") for name in known}
    lines = [{"Network": name, "Why": reason} for name, reason in reasons.items() if reason]
    return lines or [{"Network": "none", "Why": "every network has a row"}]


def about(done: list[Row], recorded: dict, known: list[str]) -> list[Row]:
    """How much of the zoo was measured, on what and from which code."""
    works = [row for row in done if not row.get("error")]
    small = [row for row in works if float(row["parameters"]) < SMALL]
    slowest = max(small, key=lambda row: float(row["rebuild_30_s"]))
    both = [row for row in works if row["torch_pruning_s"] and float(row["parameters"]) > LARGE]
    ratios = [float(row["rebuild_30_s"]) / float(row["torch_pruning_s"]) for row in both]
    silent = [row["model"] for row in works if float(row["effect_30"]) < NEGLIGIBLE]
    settings, machine = recorded["settings"], recorded["machine"]
    larger = ", ".join(f"{name} {pixels}" for name, pixels in settings["larger"].items())
    facts = {
        "Networks measured": f"{len(done)} of {len(known)}",
        "Failures": str(len(done) - len(works)),
        "Networks whose lowest 30 % are filters that do nothing": ", ".join(silent) or "none",
        "Slowest rebuild below 30 M parameters": f"{slowest['model']}, "
        f"{float(slowest['rebuild_30_s']):.2f} s",
        "Faster than torch-pruning, from ResNet-50's size upward": (
            f"{sum(r < 1 for r in ratios)} of {len(ratios)} that both can do, "
            f"{sum(r < 0.5 for r in ratios)} in less than half of its time"
        ),
        "Image size": f"{settings['pixels']} pixels, where a network allows it ({larger})",
        "Processor": f"{machine['processor']}, one thread",
        "Versions": ", ".join(f"{name} {number}" for name, number in recorded["versions"].items()),
        "Commit": ", ".join(sorted({row["commit"][:7] for row in done})),
        "Finished": recorded["finished"][:10],
    }
    return [{"What": key, "This run": value} for key, value in facts.items()]


def _outcome(row: Row) -> str:
    if row["outcome"] == "pruned" and row.get("reason"):
        return "pruned, law not tested"
    return ": ".join(filter(None, (row["outcome"], row.get("reason"))))


def of_timm(rows: list[Row]) -> list[Row]:
    """The line of a network of timm: what of it can go, or why nothing could be said."""
    return [
        {
            "Network": row["model"],
            "Parameters (M)": f"{float(row['parameters']) / 1e6:.1f}" if row["parameters"] else "",
            "Pixels": row["pixels"].removesuffix(".0"),
            "Trace (s)": f"{float(row['trace_s']):.2f}" if row["trace_s"] else "",
            "Can go": f"{float(row['prunable']):.0%}" if row["prunable"] else "",
            "Rebuild (s)": f"{float(row['rebuild_s']):.2f}" if row["rebuild_s"] else "",
            "Largest difference": f"{float(row['difference']):.0e}" if row["difference"] else "",
            "Outcome": _outcome(row),
        }
        | (by_torch_pruning(row) if row["outcome"] == "pruned" else {})
        for row in rows
    ]


def times_by_size(rows: list[Row]) -> list[Row]:
    """How the time of a rebuild compares with torch-pruning's, over networks of like size."""
    both = pd.DataFrame([row for row in rows if row.get("torch_pruning_s")])
    both = both[["parameters", "rebuild_s", "torch_pruning_s"]].astype(float)
    ratio = both["rebuild_s"] / both["torch_pruning_s"]
    found = ratio.groupby(pd.cut(both["parameters"] / 1e6, SIZES)).describe()
    return [
        {
            "Parameters (M)": f"{size.left:g} to {size.right:g}",
            "Networks": f"{row['count']:.0f}",
            "Median": f"{row['50%']:.2f}",
            "Least to most": f"{row['min']:.2f} to {row['max']:.2f}",
        }
        for size, row in found.iterrows()
    ]


def write(folder: Path = BOOK) -> None:
    with RECORDED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with OF_TIMM.open(encoding="utf-8", newline="") as file:
        rows_of_timm = list(csv.DictReader(file))
    recorded = json.loads(RECORDED.with_suffix(".json").read_text(encoding="utf-8"))
    known = models.list_models(module=models)
    done = [row for row in rows if not row.get("left_out")]
    tables = {
        "zoo": [measured(row) for row in done],
        "zoo_growth": growth(done),
        "zoo_left_out": left_out(rows, known),
        "zoo_about": about(done, recorded, known),
        "zoo_timm": of_timm(rows_of_timm),
        "zoo_timm_times": times_by_size(rows_of_timm),
    }
    for name, lines in tables.items():
        longest = max(lines, key=len, default={"Network": ""})
        write_table(pd.DataFrame(lines, columns=[*longest]), folder / f"{name}.csv")


if __name__ == "__main__":
    write()
