"""Controls that prune in a live notebook show what the library does, and a page shows a still."""

from __future__ import annotations

import re

import pytest
import torch
from jupyter_client.manager import start_new_kernel
from torch import nn

import prunekit
from prunekit.book.widgets import prune_live
from prunekit.models import ResNet, TinySqueezeNet
from prunekit.training import evaluate

NOISE = torch.randn(2, 24, 3, 32, 32, generator=torch.Generator().manual_seed(1))
BATCHES = [(images, torch.arange(24) % 4) for images in NOISE]
CELL = """
import torch
from prunekit.book.widgets import prune_live
from prunekit.models import TinySqueezeNet

prune_live(TinySqueezeNet(4), [(torch.randn(8, 3, 32, 32), torch.arange(8) % 4)])
"""


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return ResNet(blocks=1, num_classes=4).eval()


@pytest.fixture
def panel(model):
    """What the reader turns and presses, and where the result comes."""
    return prune_live(model, BATCHES, controls=True).children


def numbers(html: str) -> dict[str, tuple[str, str]]:
    """The rows of the table: before and after."""
    row = r"<th>(\w+)</th>\s*<td>(.*?)</td>\s*<td>(.*?)</td>"
    return {name: (before, after) for name, before, after in re.findall(row, html)}


def counted(model: nn.Module) -> dict[str, str]:
    cost = prunekit.profile(model, BATCHES[0][0][:1])
    layers = prunekit.trace(model, BATCHES[0][0][:1]).layers.values()
    return {
        "accuracy": f"{evaluate(model, BATCHES).accuracy:.1%}",
        "filters": str(sum(layer.filters for layer in layers)),
        "parameters": f"{cost.parameters:,}",
        "MACs": f"{cost.macs:,}",
    }


@pytest.mark.parametrize("name, part", [("weight_l1", 0.5), ("taylor", 0.2), ("combined", 0.75)])
def test_a_press_shows_what_the_library_gives(model, panel, name, part):
    criterion, share, button, result = panel
    before = numbers(result.value)
    criterion.value, share.value = name, part
    assert numbers(result.value) == before  # nothing runs before the button is pressed
    button.click()
    shown = numbers(result.value)
    assert shown != before
    ranking = prunekit.rank(model, BATCHES, name, progress=False)
    groups = ranking["group"].nunique()
    small = prunekit.rebuild(model, BATCHES[0][0], prunekit.select(ranking, round(part * groups)))
    old, new = counted(model), counted(small)
    assert shown == {key: (old[key], new[key]) for key in old}
    assert f"{round(part * groups)} of {groups} groups removed" in result.value
    layer = prunekit.trace(small, BATCHES[0][0]).layers["layer1.0.conv1"]
    assert f"layer1.0.conv1 {layer.filters} of 16" in result.value


def test_the_network_stays_as_it_is_and_a_second_press_begins_anew(model, panel):
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    _, _, button, result = panel
    first = result.value
    button.click()
    assert result.value == first
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, kept[name])


@pytest.mark.parametrize(
    "name, part, said",
    [
        ("combined", 1.0, "filters or coupled groups asked for can be removed"),
        ("bn_scale", 0.3, ""),
    ],
)
def test_what_cannot_be_is_said_in_words_and_the_button_works_again(name, part, said):
    criterion, share, button, result = prune_live(
        TinySqueezeNet(4).eval(), BATCHES, controls=True
    ).children
    good = result.value
    criterion.value, share.value = name, part
    button.click()
    assert result.value.startswith("<p><b>Not possible.</b> ") and said in result.value
    assert len(result.value) > 40 and not button.disabled
    criterion.value, share.value = "combined", 0.3
    button.click()
    assert result.value == good


class Breaking(list):
    """Batches of which a later reading may fail."""

    broken = False

    def __iter__(self):
        if self.broken:
            raise ValueError("the disk of <b>images</b> is gone")
        return super().__iter__()


def test_a_message_is_text_and_no_markup(model):
    batches = Breaking(BATCHES)
    *_, button, result = prune_live(model, batches, controls=True).children
    batches.broken = True
    button.click()
    assert "the disk of &lt;b&gt;images&lt;/b&gt; is gone" in result.value


def test_without_a_notebook_the_first_result_stands_still(model, panel):
    page = prune_live(model, BATCHES).data
    assert "In a live notebook, controls stand here" in page
    assert page.endswith(panel[-1].value)
    assert '<img alt="Filters kept in each layer: ' in page


@pytest.mark.parametrize("batches", [iter(BATCHES), [], [BATCHES[0][0]]])
def test_batches_that_cannot_be_used_are_refused(model, batches):
    with pytest.raises((TypeError, ValueError), match="batch"):
        prune_live(model, batches)


@pytest.fixture(scope="module")
def kernel(root):
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(root))
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("answers", [True, False])
def test_controls_come_where_somebody_can_answer_and_nothing_of_them_elsewhere(kernel, answers):
    """As JupyterLab asks a kernel to run a cell, and as a program that builds a page does."""
    heard = []
    options = {"allow_stdin": answers, "output_hook": heard.append, "timeout": 120}
    assert kernel.execute_interactive(CELL, **options)["content"]["status"] == "ok"
    kinds = [message["msg_type"] for message in heard]
    shown = heard[kinds.index("execute_result")]["content"]["data"]
    assert ("application/vnd.jupyter.widget-view+json" in shown) == answers
    assert ("text/html" in shown) != answers
    assert ("comm_open" in kinds) == answers
