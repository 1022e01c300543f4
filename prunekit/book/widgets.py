"""What only a live kernel can do: a network that is pruned at the press of a button."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO
from typing import Any

import pandas as pd
from IPython import get_ipython
from IPython.display import HTML
from torch import nn

from prunekit.book.plots.criteria import label_of
from prunekit.book.plots.pruning import filters_left
from prunekit.channels import trace
from prunekit.checks import checked, module
from prunekit.checks.batches import Batches, first_batch, repeatable
from prunekit.criteria import CRITERIA, rank
from prunekit.extras import need
from prunekit.measure import profile
from prunekit.selection import select
from prunekit.surgery import rebuild
from prunekit.training import evaluate

FIRST = "combined", 0.3
STILL = (
    "In a live notebook, controls stand here: choose a criterion and a share, press a button, and "
    "the network is pruned on the spot. This is what they show first."
)


@checked(model=module, batches=repeatable)
def prune_live(model: nn.Module, batches: Batches, *, controls: bool | None = None) -> Any:
    """Controls that rank, select and rebuild, and show what came of it; or their first result.

    Nothing is trained again, and the model stays as it is.

    Parameters
    ----------
    model
        A classifier.
    batches
        A few batches ``(x, y)``, by which filters are ranked and accuracy is
        measured. They are read anew at every press of the button.
    controls
        Whether to show controls. By default where somebody can answer: not on
        a page that is being built, nor in a notebook that a program runs.

    Returns
    -------
    ``ipywidgets.VBox``, or HTML with a sentence and the first result.

    Raises
    ------
    ImportError
        Controls are to be shown, and ipywidgets is not installed.
    TypeError
        ``batches`` can be read only once.
    ValueError
        ``batches`` is empty or no pairs of images and labels, or no filter may go.
    """
    bench = _Bench(model, batches)
    if controls is None:
        controls = _somebody_is_there()
    if not controls:
        return HTML(f"<p>{STILL}</p>{bench.pruned(*FIRST)}")
    widgets = need("ipywidgets", "plots")
    wide = {"style": {"description_width": "8em"}, "layout": {"width": "26em"}}
    criterion = widgets.Dropdown(
        options=[(label_of(name), name) for name in CRITERIA],
        value=FIRST[0],
        description="criterion",
        **wide,
    )
    share = widgets.FloatSlider(
        FIRST[1],
        min=0.05,
        max=1,
        step=0.05,
        readout_format=".0%",
        description="share removed",
        continuous_update=False,
        **wide,
    )
    button, result = widgets.Button(description="Prune"), widgets.HTML()

    def press(_: Any) -> None:
        button.disabled = True
        try:
            result.value = bench.pruned(criterion.value, share.value)
        except (TypeError, ValueError, RuntimeError) as error:  # which nobody else would show
            result.value = f"<p><b>Not possible.</b> {escape(str(error))}</p>"
        finally:
            button.disabled = False

    button.on_click(press)
    press(button)
    return widgets.VBox([criterion, share, button, result])


def _somebody_is_there() -> bool:
    """Whether what runs this cell can ask its reader something: a program that runs it cannot."""
    kernel = getattr(get_ipython(), "kernel", None)
    return kernel is not None and kernel.get_parent("shell")["content"].get("allow_stdin", False)


class _Bench:
    """A network and what it was before anything is cut out."""

    def __init__(self, model: nn.Module, batches: Batches) -> None:
        self.model, self.batches = model, batches
        self.x = first_batch("batches", batches)[0][:1]
        self.graph = trace(model, self.x)
        self.before = self.measured(model)

    def measured(self, model: nn.Module) -> dict[str, str]:
        cost, filters = profile(model, self.x), trace(model, self.x).layers.values()
        return {
            "accuracy": f"{evaluate(model, self.batches).accuracy:.1%}",
            "filters": f"{sum(layer.filters for layer in filters):,}",
            "parameters": f"{cost.parameters:,}",
            "MACs": f"{cost.macs:,}",
        }

    def pruned(self, criterion: str, share: float) -> str:
        """A share of the groups that may go, cut out: a table and the bars of the layers."""
        ranking = rank(self.model, self.batches, criterion, graph=self.graph, progress=False)
        groups = ranking["group"].nunique()
        chosen = select(ranking, round(share * groups))
        small = rebuild(self.model, self.x, chosen)
        title = (
            f"{chosen.groups} of {groups} groups removed by {label_of(criterion)}; "
            "nothing was trained again."
        )
        table = pd.DataFrame({"before": self.before, "after": self.measured(small)})
        filters = {name: layer.filters for name, layer in self.graph.prunable.items()}
        gone = {name: len(chosen.get(name, ())) for name in filters}
        figure = filters_left(pd.DataFrame(gone, index=[1]), pd.Series(filters), [1], columns=1)
        image = BytesIO()
        figure.savefig(image, format="png")
        kept = ", ".join(f"{name} {all_ - gone[name]} of {all_}" for name, all_ in filters.items())
        return (
            f"<p>{title}</p>{table.to_html(border=0)}"
            f'<img alt="Filters kept in each layer: {escape(kept)}." '
            f'src="data:image/png;base64,{base64.b64encode(image.getvalue()).decode()}">'
        )
