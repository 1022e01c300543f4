"""What all tests share: the checkout, the order of tests, the kernel of notebooks."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest
import torch
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

# A `python3` kernel installed elsewhere on the machine must not stand in for this environment's.
os.environ["JUPYTER_PATH"] = str(Path(sys.prefix) / "share" / "jupyter")
os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"

# The same examples in every run, so that a change is judged by itself; no clock, for slow machines.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# By hand, before a change of how channels are traced: new examples in every run, and many.
settings.register_profile(
    "thorough", settings.get_profile("steady"), derandomize=False, max_examples=2000
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the checkout."""
    return ROOT


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Until the module ends. Sums over several threads may differ in the last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def noise() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """One batch of ten images, where what they show does not matter."""
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(10, 3, 32, 32, generator=generator), torch.arange(10))]


@pytest.fixture(scope="session")
def archive(tmp_path_factory) -> Path:
    """A bundle of one small network, for boards with Python."""
    from boards import small_bundle  # here, for most tests need no board

    return small_bundle(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def unpacked(archive, tmp_path) -> Path:
    """The folder of that bundle."""
    from prunekit.deploy import unpack

    return unpack(archive, tmp_path)[0]


@pytest.fixture
def files(archive) -> dict[str, bytes]:
    """The files of that bundle by name."""
    from boards import contents

    return contents(archive)


@pytest.fixture
def manifest(files) -> dict:
    """What that bundle states of itself."""
    return json.loads(files["manifest.json"])


@pytest.fixture(scope="module", autouse=True)
def matplotlib_as_found() -> Iterator[None]:
    """The book's style, once set by a chapter, must not reach the next module's tests."""
    with matplotlib.rc_context():
        yield


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: install it or set CHROMIUM to its path")
        pytest.skip("no Chromium: install it or set CHROMIUM to its path")
    return {
        "executable_path": CHROMIUM,
        "args": ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
    }


@pytest.hookimpl(trylast=True)  # pytest itself puts what needs a browser first
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the site's tests, as long as all others together, last: a broken function shows at once.

    Where two processes share the tests they are the first, and the others run beside them. The
    chapters run before the site is built, which shows what they put out.
    """
    shared = "PYTEST_XDIST_WORKER" in os.environ

    def place(item: pytest.Item) -> tuple[bool, bool]:
        return (item.path.name == "test_site.py") != shared, "test_chapter_runs" not in item.name

    items.sort(key=place)
