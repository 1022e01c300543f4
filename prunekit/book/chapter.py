"""What every notebook of the book opens with: its data, its network, its recorded results."""

from __future__ import annotations

import json
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from IPython.display import Markdown, display
from jupyterquiz import display_quiz
from torch import Tensor, nn

from prunekit import storage
from prunekit.book import BOOK
from prunekit.book.captions import origin
from prunekit.book.plots.style import use_style
from prunekit.data import Dataset, Loader, load_dataset
from prunekit.models import TinySqueezeNet
from prunekit.storage.provenance import current_commit
from prunekit.study.declaration import read_study
from prunekit.study.recorded import Recorded
from prunekit.study.timing import timed_together
from prunekit.study.work import carry_out
from prunekit.training import fit

PROFILES = ("smoke", "quick", "full")
RESULTS = BOOK / "results" / "squeezenet_cifar10"
STUDIES = BOOK / "studies"
SEED = 0
# jupyterquiz's own are light on light, and light on orange: 1.7 to 1 and 3 to 1.
QUIZ_COLORS = {
    "--jq-multiple-choice-bg": "#1f3a5f",
    "--jq-many-choice-bg": "#1f3a5f",
    "--jq-numeric-bg": "#1f3a5f",
    "--jq-numeric-input-bg": "#0e1c2f",
    "--jq-correct-color": "#007a10",
}


class Chapter:
    """The setting of one notebook.

    Parameters
    ----------
    profile
        ``"smoke"`` runs everything in small on the digits; ``"quick"`` uses
        CIFAR-10 and the recorded checkpoints where the data is found, and
        says so on the page where it is not; ``"full"`` goes on to all of the
        data.
    results
        Folder of recorded results, one folder an experiment.
    """

    def __init__(self, profile: str = "quick", results: str | Path = RESULTS) -> None:
        if profile not in PROFILES:
            raise ValueError(f"profile must be one of {', '.join(PROFILES)}, not {profile!r}")
        self.profile = profile
        self.results = Path(results)
        use_style()
        torch.manual_seed(SEED)
        if self.dataset.notice:
            display(Markdown(f"> **Stand-in data.** {self.dataset.notice}"))

    @cached_property
    def dataset(self) -> Dataset:
        """CIFAR-10, or the digits in its place; always the digits in ``smoke``."""
        return load_dataset("digits" if self.profile == "smoke" else "cifar10")

    @property
    def on_cifar10(self) -> bool:
        return self.dataset.name == "cifar10"

    @property
    def input_size(self) -> int:
        """Side in pixels at which the chapter's network sees its images."""
        return 96 if self.on_cifar10 else 32

    @cached_property
    def example_inputs(self) -> Tensor:
        """Zeros of shape (1, 3, input_size, input_size)."""
        return torch.zeros(1, 3, self.input_size, self.input_size)

    def choose(self, *, smoke: Any, quick: Any, full: Any) -> Any:
        """The value for this chapter's profile."""
        return {"smoke": smoke, "quick": quick, "full": full}[self.profile]

    def quiz(self, name: str) -> None:
        """Show the questions in ``notebooks/quizzes/<name>.json``, in jupyterquiz's format.

        The file is found from any working directory: on Colab, the notebook's is another.
        """
        path = BOOK.parent / "notebooks" / "quizzes" / f"{name}.json"
        display_quiz(json.loads(path.read_text("utf-8")), colors=QUIZ_COLORS)

    def loader(
        self,
        part: str,
        batch_size: int = 64,
        *,
        limit: int | None = None,
        shuffle: bool = False,
        augment: bool = False,
    ) -> Loader:
        """Batches of ``"train"``, ``"val"`` or ``"test"``; ``limit`` keeps as many examples.

        The examples kept are drawn with a fixed seed.
        """
        images = {"train": self.dataset.train, "val": self.dataset.val, "test": self.dataset.test}
        if part not in images:
            raise ValueError(f"part must be train, val or test, not {part!r}")
        chosen = images[part]
        if limit is not None and limit < len(chosen):
            generator = torch.Generator().manual_seed(SEED)
            chosen = chosen[torch.randperm(len(chosen), generator=generator)[:limit]]
        return Loader(
            chosen,
            batch_size,
            size=self.input_size,
            shuffle=shuffle,
            augment=augment,
            flip=self.on_cifar10,
        )

    def model(self, experiment: str | Path = "fine_tuned") -> nn.Module:
        """A fresh copy of a trained network, in single precision and evaluation mode.

        With CIFAR-10 it is the recorded one of ``experiment``, or of any
        folder that is given as a path. On the digits a small SqueezeNet is
        trained on the spot, which takes seconds.
        """
        if self.on_cifar10:
            return storage.load(self.results / experiment / "model.safetensors").float().eval()
        torch.manual_seed(SEED)
        model = TinySqueezeNet(len(self.dataset.classes))
        model.load_state_dict(self._digits_weights)
        return model.eval()

    def trained(self, study: str) -> nn.Module:
        """The first network that a study recorded, in single precision and evaluation mode."""
        run = self.study(study).folder / next(iter(self.study(study).records()))
        return storage.load(run / "model.safetensors").float().eval()

    @cached_property
    def _digits_weights(self) -> dict[str, Tensor]:
        torch.manual_seed(SEED)
        model = TinySqueezeNet(len(self.dataset.classes))
        fit(model, self.loader("train", 32, shuffle=True), epochs=6, lr=0.02, progress=False)
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def table(self, experiment: str, name: str) -> pd.DataFrame:
        """A recorded table of one experiment."""
        return pd.read_csv(self._recorded(experiment, f"{name}.csv"))

    def record(self, experiment: str) -> dict[str, Any]:
        """Seed, data, machine, commit, settings and test accuracy of a recorded run."""
        return json.loads(self._recorded(experiment, "provenance.json").read_text("utf-8"))

    def caption(self, name: str) -> str:
        """One line that says how an experiment or a study was recorded, and how much of it."""
        if not (STUDIES / f"{name}.toml").is_file():
            return origin(f"Recorded run `{name}`", [self.record(name)])
        recorded = self.study(name)
        records, runs = list(recorded.records().values()), len(recorded.study.runs)
        so_far = " so far" if len(records) < runs else ""
        return origin(f"Study `{name}`, {len(records)} of {runs} runs recorded{so_far}", records)

    def study(self, name: str) -> Recorded:
        """What is recorded of a study, be it complete or not.

        Raises
        ------
        FileNotFoundError
            There is no such study, or none of its runs is recorded.
        ValueError
            A recorded run is of other settings than the study declares.
        """
        recorded = Recorded(self.results.parent / name, read_study(name, STUDIES))
        if len(recorded.missing()) == len(recorded.study.runs):
            raise FileNotFoundError(
                f"Nothing of the study {name} is recorded: "
                f"run `python -m prunekit.study run {name}`"
            )
        return recorded

    def study_or_notice(self, name: str) -> Recorded | None:
        """As :meth:`study`; where nothing is recorded, the page says so and None comes back."""
        try:
            return self.study(name)
        except FileNotFoundError as error:
            display(Markdown(f"> **Not recorded yet.** {error}."))
            return None

    def study_tables(self, table: str, *names: str) -> pd.DataFrame:
        """One table of several studies, of as many as are recorded; the page names the others.

        ``networks`` come with their ``ms`` where those of all were measured together.
        """
        studies = [study for study in map(self.study_or_notice, names) if study]
        if not studies:
            raise FileNotFoundError(f"none of the studies {', '.join(names)} is recorded")
        rows = [recorded.table(table) for recorded in studies]
        if table == "networks" and timed_together(studies):
            timed = zip(rows, studies, strict=True)
            rows = [one.merge(study.table("latency"), how="left") for one, study in timed]
        return pd.concat(rows, ignore_index=True)

    def live_study(self, name: str, runs: int) -> Recorded:
        """Do the first runs of a study here and now, one by one, into a temporary folder."""
        study = read_study(name, STUDIES)
        self._live = tempfile.TemporaryDirectory()
        recorded = Recorded(Path(self._live.name) / name, study)
        threads = torch.get_num_threads()
        for run in list(study.runs)[:runs]:
            folder = Path(self._live.name) / "unfinished" / run
            carry_out(
                study.runs[run],
                folder,
                self.results.parent,
                threads=threads,
                command=f"python -m prunekit.study run {name}",
                commit=current_commit(),
                progress=lambda share: None,
            )
            recorded.add(run, folder)
        return recorded

    def _recorded(self, experiment: str, name: str) -> Path:
        path = self.results / experiment / name
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is not recorded: run `python book/record.py {experiment}`"
            )
        return path
