"""Sentences of chapters 17 and 18 that read a table: they must turn when the networks do."""

from __future__ import annotations

import pytest
import torch

from prunekit import storage, trace
from prunekit.book import BOOK
from prunekit.widths import abnormal_richness, allocate, layer_entropies, mean_magnitudes

X = torch.zeros(1, 3, 32, 32)


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


def test_one_layer_of_all_networks_is_abnormal_by_entropy_and_it_is_in_resnet_56(networks):
    abnormal = {}
    for name, (model, graph, entropies) in networks.items():
        table = abnormal_richness(entropies, mean_magnitudes(model, graph))
        abnormal[name] = int(table["entropy_abnormal"].sum())
        if name == "resnet20":
            assert not table["magnitude_abnormal"].any()  # "no abnormal layer at all"
    assert abnormal == dict.fromkeys(networks, 0) | {"resnet56": 1}


def test_what_becomes_of_it_matters_far_less_than_which_indicator_is_believed(networks):
    model, graph, entropies = networks["resnet56"]
    magnitudes = mean_magnitudes(model, graph)

    def kept(**options):
        values = abnormal_richness(entropies, magnitudes, **options)["richness"]
        return allocate(model, X, values, ratio=0.5, relation="contrast")["kept"]

    standard = kept()
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
