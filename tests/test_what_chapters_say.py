"""Sentences of chapters 17 to 20 that read a table: they must turn when the networks do."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from prunekit import storage, trace
from prunekit.adversarial import Discriminator, Fista, SoftMasks, discriminator_loss
from prunekit.book import BOOK
from prunekit.detection import ssdlite_mobilenet_v2
from prunekit.study import read_study
from prunekit.widths import abnormal_richness, allocate, layer_entropies, mean_magnitudes

X = torch.zeros(1, 3, 32, 32)
CHAPTER_19 = BOOK.parent / "notebooks" / "19_adversarial_selection.ipynb"


@pytest.fixture(scope="module")
def networks():
    """Each network that was trained for the book, its graph and the entropies of its units."""
    found = {}
    for name in ("resnet20", "resnet56", "resnet110", "mobilenet_v2", "vgg16_half"):
        path = BOOK / "results" / name / f"{name}-seed0" / "model.safetensors"
        model = storage.load(path).float().eval()
        graph = trace(model, X)
        found[name] = model, graph, layer_entropies(model, graph)
    return found


def test_entropies_of_the_networks_shown_lie_within_a_stretch_of_half_a_nat(networks):
    shown = ("resnet20", "resnet56", "mobilenet_v2", "vgg16_half")
    stretches = [networks[name][2].max() - networks[name][2].min() for name in shown]
    assert sum(stretches) / len(shown) == pytest.approx(0.5, abs=0.05)
    assert max(stretches) < 2.3 / 3  # "they lie close together"


def test_rates_in_proportion_to_entropy_hardly_leave_uniform_and_contrast_does(networks):
    model, _, entropies = networks["resnet20"]
    spread = {
        relation: allocate(model, X, entropies, ratio=0.5, relation=relation)["rate"].std()
        for relation in ("to_max", "contrast")
    }
    assert spread["to_max"] < 0.1 < 0.25 < spread["contrast"]


def test_the_unit_of_greatest_entropy_is_narrowed_last_as_chapter_17_says(networks):
    model, _, entropies = networks["resnet20"]
    greatest = entropies.idxmax()
    kept = {
        ratio: allocate(model, X, entropies, ratio=ratio, relation="contrast")
        for ratio in (0.5, 0.85)
    }
    assert kept[0.5].loc[greatest, "rate"] == 1
    assert kept[0.85].loc[greatest, ["kept", "width"]].tolist() == [15, 32]
    assert kept[0.85].drop(greatest)["rate"].max() < 0.13  # "when all others stand there"


def test_one_layer_of_all_networks_is_abnormal_by_entropy_and_it_is_in_resnet_56(networks):
    abnormal, by_norm = {}, 0
    for name, (model, graph, entropies) in networks.items():
        table = abnormal_richness(entropies, mean_magnitudes(model, graph))
        abnormal[name] = int(table["entropy_abnormal"].sum())
        by_norm += int(table["magnitude_abnormal"].sum())
        if name == "resnet20":
            assert not table["magnitude_abnormal"].any()  # "no abnormal layer at all"
    assert abnormal == dict.fromkeys(networks, 0) | {"resnet56": 1}
    assert 2 < by_norm < 15  # "a few by norm"


def test_what_becomes_of_it_matters_far_less_than_which_indicator_is_believed(networks):
    model, graph, entropies = networks["resnet56"]
    magnitudes = mean_magnitudes(model, graph)

    def kept(**options):
        values = abnormal_richness(entropies, magnitudes, **options)["richness"]
        return allocate(model, X, values, ratio=0.5, relation="contrast")["kept"]

    standard = kept()
    ignored = (kept(abnormal="keep") - standard).abs()
    assert (ignored.sum(), ignored.max()) == (3, 1)  # "one channel in each of three units"
    assert standard.sum() == 444
    moved = {
        name: int((kept(**options) - standard).abs().sum())
        for name, options in {
            "left": {"abnormal": "keep"},
            "entropy alone": {"weight": 1.0},
            "norm alone": {"weight": 0.0},
        }.items()
    }
    assert 10 * moved["left"] < min(moved["entropy alone"], moved["norm alone"])
    assert entropies.corr(magnitudes) < 0.3  # "the two hardly go together"


def test_a_folded_norm_has_a_size_of_its_own_as_chapter_18_says(networks):
    model, graph, _ = networks["resnet56"]
    other = copy.deepcopy(model)
    block, name = other.get_submodule("layer2.4"), "layer2.4.conv1"
    with torch.no_grad():
        for tensor in (block.bn1.weight, block.bn1.bias, block.bn2.running_mean):
            tensor.mul_(10)
        block.bn2.running_var.mul_(100)
        x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        before, after = model(x), other(x)
    assert (after - before).abs().max() < 2e-3 * before.abs().max()  # what eps leaves
    folded, plain = (
        [mean_magnitudes(one, graph, folded=fold)[name] for one in (model, other)]
        for fold in (True, False)
    )
    assert folded[1] == pytest.approx(10 * folded[0], rel=1e-4) and plain[0] == plain[1]


def test_one_great_weight_costs_its_layer_its_width_as_chapter_18_says(networks):
    whole, name, kept = networks["resnet56"][0], "layer3.4.conv1", []
    spoilt = copy.deepcopy(whole)
    weights = spoilt.get_submodule(name).weight.data
    weights.view(-1)[0] = 50 * weights.abs().max()
    for model in (whole, spoilt):
        graph = trace(model, X)
        table = abnormal_richness(layer_entropies(model, graph), mean_magnitudes(model, graph))
        widths = allocate(model, X, table["richness"], ratio=0.5, relation="contrast")
        kept.append(widths.loc[name, "kept"])
    assert table.loc[name, "entropy"] < 0.1 and table.loc[name, "entropy_abnormal"]
    assert kept[1] < kept[0] / 3  # "its width does not come back"


def test_nothing_holds_the_masks_of_a_block(networks):
    """A batch norm stands behind them: it divides out what they share, and their pulls add up."""
    model, graph, _ = networks["resnet20"]
    masks = SoftMasks(model, graph)
    x = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    try:
        with masks.on(model):
            before = model(x)
            before.square().sum().backward()
            with torch.no_grad():
                masks.factors[: masks.units[0].width] *= 0.5
                after = model(x)
    finally:
        model.load_state_dict(kept)
        model.eval().zero_grad()
    assert (after - before).abs().max() < 1e-3 * before.abs().max()
    pulls = masks.factors.grad
    start = 0
    for unit in masks.units:
        of_unit = pulls[start : start + unit.width]
        assert of_unit.sum().abs() < 0.02 * of_unit.abs().sum(), unit.name
        start += unit.width


def unheld(penalty: float, steps: list[int], restarts: bool = True) -> float:
    mask = nn.Parameter(torch.ones((), dtype=torch.double))
    fista = Fista([mask], 0.01, penalty)
    for phase, count in enumerate(steps):
        fista.param_groups[0]["lr"] = 0.01 / 10**phase
        if phase and not restarts:
            fista.state[mask]["lr"] = 0.01 / 10**phase
        for _ in range(count):
            mask.grad = torch.zeros_like(mask)
            fista.step()
    return 1 - mask.item()


@pytest.mark.parametrize("restarts", [False, True])
def test_published_penalties_suffice_for_blocks_and_not_for_channels(restarts):
    published = [30, 30, 30, 10]
    assert unheld(0.001, published, restarts) < 0.005 and unheld(0.01, published, restarts) < 0.05
    assert unheld(0.6, published, restarts) > 0.95 and unheld(0.8, published, restarts) == 1
    assert 2 * unheld(0.001, published, restarts) < 0.01  # as where the penalty counts twice


def test_momentum_that_runs_on_brings_a_block_to_zero_as_chapter_19_says():
    published = [30, 30, 30, 10]
    assert unheld(0.6, published, restarts=False) == 1 > unheld(0.6, published)


def test_the_study_of_alignments_brings_an_unheld_mask_to_zero():
    settings = read_study("alignment", BOOK / "studies").runs["both-seed0"]["align"]
    steps = 352 * math.ceil(0.3 * settings["epochs"]) // settings["mask_every"]
    assert unheld(settings["penalty"], [steps]) == 1


def test_what_chapter_19_calls_not_recorded_is_not():
    text = CHAPTER_19.read_text("utf-8")
    studies = [f"alignment{part}" for part in ("", "_controls", "_fresh", "_rules")]
    said = {"All four are declared, and none is recorded yet": studies}
    published = ["alignment_resnet110", "alignment_googlenet", "googlenet"]
    said["to be run on a GPU, and are not recorded"] = published
    for sentence, named in said.items():
        assert sentence in text
        for study in named:
            assert f"`{study}`" in text and (BOOK / "studies" / f"{study}.toml").is_file()
            assert not (BOOK / "results" / study).exists(), f"{study} is recorded: {sentence!r}"


def test_alignments_start_each_seed_from_a_training_of_its_own():
    """So chapter 19 says of the three seeds of ResNet-20."""
    assert "a seed stands for a whole chain" in CHAPTER_19.read_text("utf-8")
    for name in ("alignment", "alignment_controls", "alignment_rules"):
        runs = read_study(name, BOOK / "studies").runs.values()
        assert {run["seed"] for run in runs} == {0, 1, 2}
        assert all(run["start"] == f"resnet20/resnet20-seed{run['seed']}" for run in runs)


def test_all_of_an_alignment_study_end_at_one_size_after_equally_many_epochs():
    aligned = read_study("alignment", BOOK / "studies").runs.values()
    (ratio,) = {run["align"]["choose"]["ratio"] for run in aligned}
    (epochs,) = {run["align"]["epochs"] + run["graft"]["epochs"] for run in aligned}
    for run in read_study("alignment_controls", BOOK / "studies").runs.values():
        assert (run["prune"] or run["widths"])["ratio"] == ratio
        assert run["graft"]["epochs"] == epochs
    for run in read_study("alignment_fresh", BOOK / "studies").runs.values():
        assert run["fresh"] and run["train"]["epochs"] == epochs


def test_a_discriminator_does_not_notice_answers_to_other_images():
    outputs = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    judge = Discriminator(10)
    for parameter in judge.parameters():
        nn.init.normal_(parameter)
    right, wrong = (
        discriminator_loss(judge, outputs, one) for one in (outputs, outputs.roll(1, 0))
    )
    torch.testing.assert_close(right, wrong)


def test_both_heads_lose_the_same_filters():
    model = ssdlite_mobilenet_v2(2, size=96).eval()
    graph = trace(model, torch.zeros(1, 3, 96, 96))
    scores = [name for name in graph.layers if name.startswith("class_heads")]
    shared = 0
    for name in scores:
        for group in set(graph.layers[name].groups.tolist()) - {0}:
            members = graph.members(int(group))
            assert (name in members) == (name.replace("class", "box") in members)
            shared += len(members)
    assert shared
