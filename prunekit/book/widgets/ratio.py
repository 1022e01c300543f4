"""Filters kept in each layer at a ratio and for a criterion that the reader chooses."""

from __future__ import annotations

import html
import json
import uuid
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML

from prunekit.book.findings import PARTS, shares_by_part
from prunekit.book.plots.criteria import looks_of
from prunekit.book.plots.pruning import short_name

SCRIPT = Path(__file__).with_suffix(".js")


def ratio_explorer(
    removed: pd.DataFrame, filters: pd.Series, networks: pd.DataFrame, *, start: float = 0.67
) -> HTML:
    """A slider over the ratio and a choice of criterion, with each layer's filters as bars.

    All numbers lie in the page and are drawn by its own script, so it works
    in a notebook, in a rendered book without a kernel, and offline.

    Parameters
    ----------
    removed
        Rows ``variant``, ``seed``, ``ratio`` and a column a layer: filters
        removed in total. Shown are means over seeds.
    filters
        Filters of each layer before pruning.
    networks
        Rows ``variant``, ``seed``, ``ratio`` and ``test_accuracy``.
    start
        Where the slider stands first: at the ratio nearest to it.

    Raises
    ------
    ValueError
        ``removed`` has no row.
    """
    if removed.empty:
        raise ValueError("removed has no row: there is nothing to show")
    looks = looks_of(removed["variant"])
    criteria: dict[str, dict[str, Any]] = {
        variant: {
            "label": looks[variant].label,
            "colour": looks[variant].colour,
            "points": _points(rows, filters, networks[networks["variant"] == variant]),
        }
        for variant, rows in removed.groupby("variant", sort=False)
    }
    data = {
        "layers": [short_name(layer) for layer in filters.index],
        "filters": [int(n) for n in filters],
        "parts": [f"in the {part.replace(' (', ' layers (')}" for part in PARTS],
        "criteria": criteria,
        "start": start,
    }
    choices = "".join(
        f'<option value="{html.escape(name)}">{html.escape(one["label"])}</option>'
        for name, one in criteria.items()
    )
    name = f"ratio-{uuid.uuid4().hex}"
    content = json.dumps(data).replace("<", "\\u003c")
    return HTML(f"""
<div id="{name}" class="ratio-explorer" style="font-family: sans-serif; font-size: 14px">
<div style="display: flex; flex-wrap: wrap; gap: 0.4em 1.5em; align-items: center">
<label>criterion <select>{choices}</select></label>
<label>filters removed <input type="range" min="0" max="0" value="0"
style="width: 16em; max-width: 50vw; vertical-align: middle"> <output></output></label></div>
<p class="summary" aria-live="polite"></p>
<div style="overflow-x: auto"><svg role="img" width="100%" font-family="sans-serif" font-size="11"
style="background: white; min-width: 36em; max-width: 56em"></svg></div>
</div>
<script>
{SCRIPT.read_text("utf-8")}
(function start() {{
  const root = document.getElementById("{name}");
  if (root) prunekitRatio(root, {content});
  else setTimeout(start, 50); // JupyterLab runs scripts before it shows the output
}})();
</script>""")


def _points(removed: pd.DataFrame, filters: pd.Series, networks: pd.DataFrame) -> list[dict]:
    accuracy = networks.groupby("ratio")["test_accuracy"].agg(["mean", "count"])
    points = []
    for ratio, rows in removed.groupby("ratio"):
        mean = rows[filters.index].mean()
        shares = shares_by_part(mean.to_frame().T).iloc[0].fillna(0)
        points.append(
            {
                "ratio": ratio,
                "removed": [round(float(n), 1) for n in mean],
                "shares": [round(float(share), 4) for share in shares],
                "accuracy": round(float(accuracy.loc[ratio, "mean"]), 5),
                "seeds": int(accuracy.loc[ratio, "count"]),
            }
        )
    return points
