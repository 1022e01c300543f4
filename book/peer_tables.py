"""Make the tables of peer.md from what the benchmarks recorded in benchmarks/results.

python book/peer_tables.py
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from prunekit.book.differences import in_words, paired_differences
from prunekit.storage.files import write_table

BOOK = Path(__file__).resolve().parent
RESULTS = BOOK.parent / "benchmarks" / "results"
LIBRARIES = ("prunekit", "torch-pruning")
SAME = ("weight_l1", "taylor")  # criteria that both libraries have
VERSIONS = ("torch", "torch-pruning")
HOW = ("", " per MAC", " by mean")  # ours divided by what a filter costs, or by the layer's mean


def planning() -> pd.DataFrame:
    """Seconds and memory to rank, select and remove, and the shares of torch-pruning's."""
    rows = pd.read_csv(RESULTS / "rebuilding.csv")
    compared = rows[rows["whole_ratio"].notna()]
    return pd.DataFrame(
        {
            "Network": compared["model"],
            "prunekit (s)": compared["rank_select_rebuild_s"].map("{:.2f}".format),
            "torch-pruning (s)": compared["torch_pruning_plan_remove_s"].map("{:.2f}".format),
            "Ratio": compared["whole_ratio"].map("{:.2f}".format),
            "Ratio, ranking given": compared["removal_ratio"].map("{:.2f}".format),
            "prunekit (MB)": compared["prunekit_peak_mb"].map("{:.0f}".format),
            "torch-pruning (MB)": compared["torch_pruning_peak_mb"].map("{:.0f}".format),
        }
    )


def accuracy() -> pd.DataFrame:
    """Mean and spread over seeds of each criterion of each library."""
    keys = ["model", "library", "criterion"]
    runs = pd.read_csv(RESULTS / "accuracy.csv").groupby(keys, sort=False)
    mean, spread = runs.mean(numeric_only=True), runs.std(numeric_only=True)
    table = pd.DataFrame(
        {
            "MACs left": mean["macs_left"].map("{:.1%}".format),
            "Parameters left": mean["parameters"].map("{:,.0f}".format),
            "Validation": mean["val_accuracy"].map("{:.1%}".format),
            "Test": mean["test_accuracy"].map("{:.1%}".format)
            + spread["test_accuracy"].map(lambda share: f" ({100 * share:.1f})"),
        }
    ).reset_index()
    return table.rename(columns={name: name.title() for name in keys} | {"model": "Network"})


def differences() -> pd.DataFrame:
    """prunekit minus torch-pruning on test, for the same criterion and for each one's best."""
    lines = []
    for network, rows in pd.read_csv(RESULTS / "accuracy.csv").groupby("model", sort=False):
        of = {library: rows[rows["library"] == library] for library in LIBRARIES}
        run = set(of["prunekit"]["criterion"])
        ours = [f"{name}{how}" for name in SAME for how in HOW]
        pairs = {name: (name, name.split()[0]) for name in ours if name in run}
        pairs["each library's best"] = tuple(_best(of[library]) for library in LIBRARIES)
        for title, chosen in pairs.items():
            both = pd.concat(
                of[library][of[library]["criterion"] == name].assign(variant=library, ratio=0.5)
                for library, name in zip(LIBRARIES, chosen, strict=True)
            )
            found = paired_differences(both, *LIBRARIES, "test_accuracy").loc["all"]
            names = "" if title in run else f" ({' and '.join(chosen)})"
            lines.append(
                {
                    "Network": network,
                    "Compared": title + names,
                    "prunekit is": in_words(found),
                    "Seeds": int(found["seeds"]),
                }
            )
    return pd.DataFrame(lines)


def _best(rows: pd.DataFrame) -> str:
    return rows.groupby("criterion")["val_accuracy"].mean().idxmax()


def about() -> pd.DataFrame:
    """A line for each benchmark, and for each processor on which part of it was run."""
    lines = []
    for name in ("rebuilding", "accuracy"):
        recorded = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        rows = pd.read_csv(RESULTS / f"{name}.csv")
        here = {"commit": recorded["commit"], "processor": recorded["machine"]["processor"]}
        here |= {"torch": recorded["versions"]["torch"]}
        rows = rows.assign(**{key: value for key, value in here.items() if key not in rows})
        for (processor, torch), part in rows.groupby(["processor", "torch"], sort=False):
            versions = recorded["versions"] | {"torch": torch}
            lines.append(
                {
                    "Benchmark": f"{name}.py",
                    "Rows": ", ".join(
                        f"{network} {count}"
                        for network, count in part["model"].value_counts(sort=False).items()
                    )
                    if "criterion" in part
                    else len(part),
                    "Processor": processor,
                    "Versions": ", ".join(f"{key} {versions[key]}" for key in VERSIONS),
                    "Commit": ", ".join(commit[:7] for commit in part["commit"].unique()),
                }
            )
    return pd.DataFrame(lines)


def write(folder: Path = BOOK) -> None:
    tables = {
        "peer_planning": planning(),
        "peer_accuracy": accuracy(),
        "peer_differences": differences(),
        "peer_about": about(),
    }
    for name, table in tables.items():
        write_table(table, folder / f"{name}.csv")


if __name__ == "__main__":
    write()
