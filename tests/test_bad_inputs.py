"""Settings that cannot be kept are refused by name, before anything has changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import (
    BATCHES,
    GOOD,
    INF,
    NAN,
    RANKING,
    X,
    arguments,
    network,
    refuses,
)
from torch import nn

from prunekit import (
    compare,
    fold_batch_norm,
    insert_batch_norm,
    latency,
    mask,
    peak_memory,
    profile,
    prune,
    rank,
    rebuild,
    repair,
    select,
    trace,
)
from prunekit.channels.units import units
from prunekit.criteria import MapSimilarity, WeightNorm, normalise
from prunekit.criteria.twins import (
    activation_maps,
    closest_pairs,
    map_similarities,
    nearest,
    twins_left,
)
from prunekit.measure import latencies
from prunekit.pruning.budgets import left_after, per_saving
from prunekit.pruning.schedule import criterion_at
from prunekit.selection import removable
from prunekit.training import answers, fit
from prunekit.widths import layer_entropies, mean_magnitudes, select_widths

MASK = [True, False, True, False]
NO_NUMBER = "must be a number, not"
NOT_WHOLE = "must be a whole number, not"

REMOVALS = [
    ({"0": MASK}, TypeError, "0: a boolean mask .* pass the indices"),
    ({"0": np.array(MASK)}, TypeError, "0: a boolean mask .* pass the indices"),
    ({"0": torch.tensor(MASK)}, TypeError, "0: a boolean mask .* pass the indices"),
    ({"0": [True, 2]}, TypeError, "0: a boolean mask .* pass the indices"),
    ({"0": [1.0]}, TypeError, r"0: filters must be a list of whole numbers, not \[1.0\]"),
    ({"0": 1}, TypeError, "0: filters must be a list of whole numbers, not 1"),
    ({"0": "12"}, TypeError, "0: filters must be a list of whole numbers, not '12'"),
    ({"0": None}, TypeError, "0: filters must be a list of whole numbers, not None"),
    ({"0": [NAN]}, TypeError, "0: filters must be a list of whole numbers"),
    ({"0": [4]}, IndexError, "0 has filters 0 to 3, not 4"),
    ({"0": [-1]}, IndexError, "0 has filters 0 to 3, not -1"),
    ({"1": [0]}, KeyError, "no convolution or linear layer is named '1'; there are 0, 3, 7"),
    ({0: [1]}, KeyError, "no convolution or linear layer is named 0"),
    ({"7": [0]}, ValueError, "filter 0 of 7 must stay"),
    ({"0": range(4)}, ValueError, "0 would lose all of its 4 filters"),
    (["0"], TypeError, "remove must map layers to filters"),
    (None, TypeError, "remove must map layers to filters"),
    (RANKING, TypeError, "remove must map layers to filters, as select gives them"),
]
COUNTS = [
    (NAN, TypeError, f"count {NOT_WHOLE} nan"),
    (2.5, TypeError, f"count {NOT_WHOLE} 2.5"),
    (2.0, TypeError, f"count {NOT_WHOLE} 2.0"),
    (True, TypeError, f"count {NOT_WHOLE} True"),
    ("2", TypeError, f"count {NOT_WHOLE} '2'"),
    (None, TypeError, f"count {NOT_WHOLE} None"),
    (-1, ValueError, "count must be at least 1, not -1"),
    (0, ValueError, "count must be at least 1, not 0"),
    (6, ValueError, "only 5 of the 6 filters or coupled groups asked for can be removed"),
]
LIMITS = [
    ("min_filters", 0, ValueError, "min_filters must be at least 1, not 0"),
    ("min_filters", -1, ValueError, "min_filters must be at least 1, not -1"),
    ("min_filters", 2.5, TypeError, f"min_filters {NOT_WHOLE} 2.5"),
    ("min_filters", NAN, TypeError, f"min_filters {NOT_WHOLE} nan"),
    ("min_filters", True, TypeError, f"min_filters {NOT_WHOLE} True"),
    ("min_filters", None, TypeError, f"min_filters {NOT_WHOLE} None"),
    ("round_to", 0, ValueError, "round_to must be at least 1, not 0"),
    ("round_to", -8, ValueError, "round_to must be at least 1, not -8"),
    ("round_to", 8.5, TypeError, f"round_to {NOT_WHOLE} 8.5"),
    ("round_to", NAN, TypeError, f"round_to {NOT_WHOLE} nan"),
    ("round_to", True, TypeError, f"round_to {NOT_WHOLE} True"),
    ("exclude", ["stem"], ValueError, "exclude: no layer matches 'stem'; there are 0, 3"),
    ("exclude", 3, TypeError, "exclude must be a name or a list of names, not 3"),
    ("exclude", [3], TypeError, r"exclude must be a name or a list of names, not \[3\]"),
    ("exclude", None, TypeError, "exclude must be a name or a list of names, not None"),
    ("per_layer", 0.3, TypeError, "per_layer must map names of layers to numbers or shares"),
    ("per_layer", {0: 3}, TypeError, "per_layer must map names of layers to numbers or shares"),
    ("per_layer", {"0": -1}, ValueError, r"per_layer\['0'\] must be at least 0, not -1"),
    ("per_layer", {"0": True}, TypeError, rf"per_layer\['0'\] {NOT_WHOLE} True"),
    ("per_layer", {"0": None}, TypeError, rf"per_layer\['0'\] {NOT_WHOLE} None"),
    ("per_layer", {"0": 1.0}, ValueError, r"per_layer\['0'\] must be above 0 and below 1"),
    ("per_layer", {"0": NAN}, ValueError, r"per_layer\['0'\] must be above 0 and below 1"),
    ("per_layer", {"stem": 1}, ValueError, "per_layer: no layer matches 'stem'; there are 0, 3"),
]
RANKINGS = [
    (RANKING.drop(columns="score"), ValueError, "the ranking has no column score"),
    (RANKING[["score"]], ValueError, "the ranking has no column layer, filter"),
    (RANKING[:0], ValueError, "the ranking is empty"),
    (RANKING.assign(score=NAN), ValueError, "filter 0 of 0 has the score nan"),
    (RANKING.assign(score=INF), ValueError, "filter 0 of 0 has the score inf"),
    (RANKING.assign(score="low"), TypeError, "column score must hold numbers, not"),
    (RANKING.assign(score=1j), TypeError, "column score must hold numbers, not complex"),
    (RANKING.assign(score=RANKING["score"] > 0.3), TypeError, "column score must hold numbers"),
    (RANKING.assign(filter=0), ValueError, "filter 0 of 0 is listed more than once"),
    (RANKING.assign(filter=1.0), TypeError, "column filter must hold whole numbers, not float64"),
    (RANKING.assign(filter=-RANKING["filter"]), ValueError, "a filter below 0"),
    (RANKING.assign(layer=None), ValueError, "a row without a layer"),
    (RANKING.assign(group=NAN), TypeError, "column group must hold whole numbers, not float64"),
    (RANKING.assign(width=4.0), TypeError, "column width must hold whole numbers, not float64"),
    (RANKING.assign(width=0), ValueError, "0 has filter 0, but the width 0"),
    (RANKING.to_dict(), TypeError, "ranking must be a DataFrame as rank gives it, not"),
    (RANKING["score"], TypeError, "ranking must be a DataFrame .* not an object of type Series"),
    (None, TypeError, "ranking must be a DataFrame as rank gives it, not None"),
]
RUNS = [
    ("ratio", 0, ValueError, "ratio must be above 0 and below 1, not 0"),
    ("ratio", 1, ValueError, "ratio must be above 0 and below 1, not 1"),
    ("ratio", -1, ValueError, "ratio must be above 0 and below 1, not -1"),
    ("ratio", NAN, ValueError, "ratio must be above 0 and below 1, not nan"),
    ("ratio", INF, ValueError, "ratio must be above 0 and below 1, not inf"),
    ("ratio", "0.5", TypeError, f"ratio {NO_NUMBER} '0.5'"),
    ("ratio", True, TypeError, f"ratio {NO_NUMBER} True"),
    ("ratio", None, TypeError, f"ratio {NO_NUMBER} None"),
    ("per_iteration", NAN, TypeError, "per_iteration must be a whole number, not nan"),
    ("per_iteration", INF, TypeError, "per_iteration must be a whole number, not inf"),
    ("per_iteration", 0, ValueError, "per_iteration must be at least 1, not 0"),
    ("per_iteration", -5, ValueError, "per_iteration must be at least 1, not -5"),
    ("per_iteration", 12.5, TypeError, "per_iteration must be a whole number, not 12.5"),
    ("per_iteration", 0.1, TypeError, "per_iteration must be a whole number, not 0.1"),
    ("share_per_iteration", 1, ValueError, "share_per_iteration must be above 0 and below 1"),
    ("share_per_iteration", 0, ValueError, "share_per_iteration must be above 0 and below 1"),
    ("share_per_iteration", NAN, ValueError, "share_per_iteration must be above 0"),
    ("share_per_iteration", True, TypeError, "share_per_iteration must be a number"),
    ("per_iteration", True, TypeError, "per_iteration must be a whole number, not True"),
    ("normalize", "max", ValueError, 'normalize must be "l2", "mean" or False, not \'max\''),
    ("normalize", True, ValueError, 'normalize must be "l2", "mean" or False, not True'),
    ("normalize", None, ValueError, 'normalize must be "l2", "mean" or False, not None'),
    ("normalize", np.ones(2), ValueError, 'normalize must be "l2", "mean" or False'),
    ("budget", "flops", ValueError, "budget must be one of filters, parameters, macs, latency"),
    ("budget", None, ValueError, "budget must be one of filters, parameters, macs, latency"),
    ("cost_aware", "no", TypeError, "cost_aware must be True or False, not 'no'"),
    ("cost_aware", True, ValueError, "cost_aware needs a budget in parameters or macs"),
    ("rank_batches", 0, ValueError, "rank_batches must be at least 1, not 0"),
    ("rank_batches", NAN, TypeError, f"rank_batches {NOT_WHOLE} nan"),
    ("rank_batches", 2.5, TypeError, f"rank_batches {NOT_WHOLE} 2.5"),
    ("max_accuracy_drop", NAN, ValueError, "max_accuracy_drop must be at least 0 and below 1"),
    ("max_accuracy_drop", -0.1, ValueError, "max_accuracy_drop must be at least 0 and below 1"),
    ("max_accuracy_drop", 2, ValueError, "max_accuracy_drop must be at least 0 and below 1"),
    ("max_accuracy_drop", "1%", TypeError, f"max_accuracy_drop {NO_NUMBER} '1%'"),
    ("seed", 0.5, TypeError, f"seed {NOT_WHOLE} 0.5"),
    ("seed", "0", TypeError, f"seed {NOT_WHOLE} '0'"),
    ("seed", None, TypeError, f"seed {NOT_WHOLE} None"),
    ("seed", 2**64, ValueError, "seed must be at least .* and below"),
    ("folder", 3, TypeError, "folder must be a path, not 3"),
    ("folder", __file__, ValueError, "folder must be a folder, and .* is a file"),
    ("report", "log.txt", TypeError, "report must be a function, not 'log.txt'"),
    ("progress", "yes", TypeError, "progress must be True or False, not 'yes'"),
    ("fine_tune", True, TypeError, "fine_tune must be a dictionary of settings of fit, a function"),
    ("fine_tune", {"epoch": 1}, TypeError, "fine_tune has no setting 'epoch'; there are .*epochs"),
    ("fine_tune", {"model": 1}, TypeError, "fine_tune has no setting 'model'"),
    (
        "fine_tune",
        {"checkpoint": "c"},
        ValueError,
        "fine_tune: one checkpoint cannot .* use folder",
    ),
    ("fine_tune", {"lr": NAN}, ValueError, "fine_tune: lr must be above 0 and finite, not nan"),
    ("fine_tune", {"momentum": 1}, ValueError, "fine_tune: momentum must be at least 0 and below"),
    ("criterion", "best", ValueError, "no criterion is named 'best'; there are activation_l2"),
    ("criterion", [(0, "best")], ValueError, "no criterion is named 'best'"),
    ("criterion", [(NAN, "taylor")], ValueError, "the shares rise from 0 and stay below 1"),
    ("criterion", [(0, "taylor"), (NAN, "random")], ValueError, "the shares rise from 0"),
    ("criterion", [(False, "taylor")], ValueError, "the shares rise from 0 and stay below 1"),
    ("criterion", [], ValueError, "the shares rise from 0 and stay below 1"),
    ("criterion", WeightNorm, TypeError, r"pass WeightNorm\(\), not the class"),
]
TRAINING = [
    *(
        ("epochs", bad, ValueError, "epochs must be above 0 and finite")
        for bad in (0, -1, NAN, INF)
    ),
    ("epochs", "1", TypeError, f"epochs {NO_NUMBER} '1'"),
    *(("lr", bad, ValueError, "lr must be above 0 and finite") for bad in (0, -1, NAN, INF)),
    ("lr", None, TypeError, f"lr {NO_NUMBER} None"),
    *(("momentum", bad, ValueError, "momentum must be at least 0 and") for bad in (-0.1, NAN, 1)),
    *(("weight_decay", bad, ValueError, "weight_decay must be at least 0") for bad in (-1, NAN)),
    *(("label_smoothing", bad, ValueError, "label_smoothing must be at") for bad in (-0.1, NAN, 1)),
    *(("clip_norm", bad, ValueError, "clip_norm must be above 0, not") for bad in (-1, NAN, 0)),
    ("clip_norm", None, TypeError, f"clip_norm {NO_NUMBER} None"),
    ("schedule", "step", ValueError, "schedule must be one of one_cycle, cosine, constant"),
    *(("teacher_weight", bad, ValueError, "teacher_weight must be at") for bad in (-0.1, NAN, 1.1)),
    *(("temperature", bad, ValueError, "temperature must be above 0") for bad in (0, NAN, INF)),
    ("teacher", nn.Linear, TypeError, "teacher must be a torch.nn.Module, not the class Linear"),
    ("teacher", nn.Sequential(nn.Flatten(), nn.Linear(192, 1)), ValueError, "teacher gives"),
    ("teacher", nn.Linear(5, 3), ValueError, "the teacher does not run on the images"),
    *(
        ("precision", bad, ValueError, "precision must be one of mixed, full, not")
        for bad in ("half", None, torch.float32)
    ),
    ("checkpoint", 3, TypeError, "checkpoint must be a path, not 3"),
    ("checkpoint", Path(__file__).parent, ValueError, "checkpoint must be a file, and .* a folder"),
    ("progress", None, TypeError, "progress must be True or False, not None"),
]
TIMES = [
    *((name, NAN, TypeError, f"{name} {NOT_WHOLE} nan") for name in ("repeats", "warmup")),
    *((name, 1.5, TypeError, f"{name} {NOT_WHOLE} 1.5") for name in ("repeats", "threads")),
    ("repeats", 0, ValueError, "repeats must be at least 1, not 0"),
    ("warmup", -1, ValueError, "warmup must be at least 0, not -1"),
    ("threads", 0, ValueError, "threads must be at least 1, not 0"),
]
INPUTS = [
    (X.numpy(), TypeError, "example_inputs must be a tensor, or a tuple .* an array of shape"),
    ([X], TypeError, "example_inputs must be a tensor, or a tuple of the arguments of forward"),
    (None, TypeError, "example_inputs must be a tensor, or a tuple .* not None"),
    ((), TypeError, "example_inputs must be a tensor"),
    (torch.tensor(1.0), ValueError, "example_inputs must be a batch of shape"),
    (X[:0], ValueError, "example_inputs is an empty batch"),
    (X[:, :2], ValueError, r"does not run on example_inputs, a tensor of shape \(4, 2, 8, 8\)"),
    (X.byte(), ValueError, "does not run on example_inputs, .* torch.uint8: .*one type with"),
    (X.double(), ValueError, "does not run on example_inputs, .* torch.float64: .*one type with"),
    (X.to("meta"), ValueError, "example_inputs lies on the meta device, and the model does not"),
]
SIMILARITIES = [
    ({}, ValueError, "similarities is empty"),
    ([np.eye(3)], TypeError, "similarities must map layers to arrays"),
    ({"0": np.ones((2, 3))}, ValueError, r"0 must have an array of shape \(filters, filters\)"),
    ({"0": [[1.0]]}, ValueError, r"0 must have an array of shape \(filters, filters\), not \[\["),
    ({"0": np.full((2, 2), NAN)}, ValueError, "similarities: 0 holds NaN"),
]
OTHERS = [
    (compare, "models", {}, ValueError, "models is empty: there is no model to compare"),
    (compare, "models", [network()], TypeError, "models must map names to models"),
    (compare, "models", {"a": network}, TypeError, r"models\['a'\] must be a torch.nn.Module"),
    (latencies, "models", [], TypeError, "models must be a list of one model or more"),
    (left_after, "budget", "filters", ValueError, "budget must be one of parameters, macs"),
    (per_saving, "budget", "latency", ValueError, "budget must be one of parameters, macs"),
    (per_saving, "ranking", RANKING.assign(group=99), ValueError, "ranking is of another network"),
    (per_saving, "ranking", RANKING.assign(layer="x"), ValueError, "ranking is of another network"),
    (per_saving, "ranking", RANKING.drop(columns="group"), ValueError, "has no column group"),
    (criterion_at, "removed", NAN, ValueError, "removed must be at least 0 and at most 1, not nan"),
    (criterion_at, "removed", -0.5, ValueError, "removed must be at least 0 and at most 1"),
    (criterion_at, "criterion", [(0, 7)], TypeError, "an object of a subclass of Criterion"),
    (activation_maps, "layer", "conv9", ValueError, "no layer 'conv9' can be pruned; there are 0"),
    (activation_maps, "layer", None, ValueError, "no layer None can be pruned"),
    (map_similarities, "measure", MapSimilarity, TypeError, "must be a MapSimilarity object"),
    (map_similarities, "measure", "cosine", TypeError, "must be a MapSimilarity object"),
    (map_similarities, "batches", 0, ValueError, "batches must be at least 1, not 0"),
    (closest_pairs, "count", 0, ValueError, "count must be at least 1, not 0"),
    (closest_pairs, "count", 1.5, TypeError, f"count {NOT_WHOLE} 1.5"),
    (twins_left, "ratios", 0.5, TypeError, "ratios must be a list of numbers, not 0.5"),
    (twins_left, "ratios", [NAN], ValueError, "ratios must be at least 0 and below 1, not nan"),
    (twins_left, "ratios", [-0.5], ValueError, "ratios must be at least 0 and below 1, not -0.5"),
    (twins_left, "ratios", [1.5], ValueError, "ratios must be at least 0 and below 1, not 1.5"),
    (twins_left, "threshold", NAN, ValueError, "threshold must be at least -1 and at most 1"),
    (twins_left, "threshold", 80, ValueError, "threshold must be at least -1 and at most 1"),
    (twins_left, "ranking", RANKING.assign(layer="x"), ValueError, "filters of x that similar"),
    (normalise, "by", "max", ValueError, 'by must be "l2", "mean" or False, not \'max\''),
    (normalise, "scores", [1.0], TypeError, r"scores must be a tensor of shape \(filters,\)"),
    (normalise, "scores", torch.tensor([NAN]), ValueError, "scores must be finite"),
]
GRAPHS = [
    (5, "graph must be what prunekit.trace gives, not 5"),
    (network(), "graph must be what prunekit.trace gives, not an object of type Sequential"),
]
CALIBRATION = [
    ("loader", "3", TypeError, r"loader must give batches \(x, y\), .* not '3'"),
    ("loader", [["X"]], TypeError, "a batch is a tensor of images or begins with one, or with a"),
    ("loader", [{"x": X}], ValueError, "batch 1 of the loader does not suit the arguments of for"),
    ("batches", 2.5, TypeError, f"batches {NOT_WHOLE} 2.5"),
    ("batches", True, TypeError, f"batches {NOT_WHOLE} True"),
    ("batches", "3", TypeError, f"batches {NOT_WHOLE} '3'"),
    ("batches", 0, ValueError, "batches must be at least 1, not 0"),
]
REPAIRS = [
    (repair, "pruned", 5, TypeError, "pruned must be a torch.nn.Module, not 5"),
    (repair, "original", nn.Linear, TypeError, "original must be a torch.nn.Module, not the class"),
    (repair, "method", "magic", ValueError, "method must be one of least_squares, moments, batch_"),
    (repair, "progress", "no", TypeError, "progress must be True or False, not 'no'"),
    (insert_batch_norm, "model", 5, TypeError, "model must be a torch.nn.Module, not 5"),
    (insert_batch_norm, "layers", 3, TypeError, "layers must be a name or a list of names, not 3"),
    (insert_batch_norm, "layers", "f", KeyError, "no convolution is named 'f'; there are 0, 3"),
    (fold_batch_norm, "model", None, TypeError, "model must be a torch.nn.Module, not None"),
]
ANSWERS = [
    ("teacher", nn.Linear, TypeError, "teacher must be a torch.nn.Module, not the class Linear"),
    ("views", BATCHES, TypeError, "views must be Views of images, not"),
    ("batch_size", 0, ValueError, "batch_size must be at least 1, not 0"),
    ("batch_size", 2.5, TypeError, f"batch_size {NOT_WHOLE} 2.5"),
    ("progress", "no", TypeError, "progress must be True or False, not 'no'"),
]
CASES = [
    *((rank, "progress", bad, TypeError, "progress must be True or False") for bad in ("no", None)),
    *((function, "graph", bad, TypeError, words) for bad, words in GRAPHS
      for function in (rank, units, layer_entropies, mean_magnitudes, select_widths)),
    *((function, *case) for function in (repair, insert_batch_norm) for case in CALIBRATION),
    *((answers, *case) for case in ANSWERS),
    *REPAIRS,
    *((rebuild, "remove", *case) for case in REMOVALS),
    *((mask, "remove", *case) for case in REMOVALS[:3]),
    *((select, "count", *case) for case in COUNTS),
    *((function, *case) for function in (select, removable) for case in LIMITS),
    *((select, "ranking", *case) for case in RANKINGS),
    *((prune, *case) for case in (*LIMITS, *RUNS)),
    *((fit, *case) for case in TRAINING),
    *((function, *case) for function in (latency, compare) for case in TIMES),
    *((function, "example_inputs", *case)
      for function in (profile, latency, peak_memory) for case in INPUTS),
    *((nearest, "similarities", *case) for case in SIMILARITIES),
    *OTHERS,
]  # fmt: skip


@pytest.mark.parametrize(("function", "name", "value", "error", "words"), CASES)
def test_a_bad_setting_is_refused_by_name(function, name, value, error, words, tmp_path):
    refuses(function, {name: value}, error, words, tmp_path)


@pytest.mark.parametrize("function", GOOD, ids=lambda function: function.__name__)
def test_what_is_bad_in_these_calls_is_the_only_thing_that_is(function, tmp_path):
    torch.manual_seed(0)
    function(**arguments(function, network(), tmp_path))


def test_settings_that_numpy_made_are_as_good_as_pythons(tmp_path):
    limits = {"min_filters": np.int64(2), "round_to": np.int32(1), "exclude": iter(["0"])}
    options = {"ratio": np.float32(0.3), "seed": np.int64(1), "folder": tmp_path, **limits}
    options |= {"fine_tune": {"epochs": np.float32(1), "progress": np.bool_(False)}}
    history = prune(network(), BATCHES, BATCHES, "weight_l1", per_iteration=np.int64(1),
                    progress=False, **options)  # fmt: skip
    assert history.stopped == "ratio"


@pytest.mark.parametrize("bad", [NAN, 0, -1])
def test_criteria_look_at_their_settings(bad):
    with pytest.raises(ValueError, match="order must be above 0"):
        WeightNorm(bad)
    with pytest.raises(TypeError, match="centred must be True or False"):
        MapSimilarity(centred=bad)


def test_indices_of_any_kind_name_the_same_filters():
    graph = trace(network(), X)
    expected = graph.groups_of({"0": [1, 3]})
    for indices in (np.array([1, 3]), torch.tensor([3, 1]), {1, 3}, range(1, 4, 2), iter([1, 3])):
        assert (graph.groups_of({"0": indices}) == expected).all()
