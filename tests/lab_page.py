"""The lab in a page of its own, as tests open it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import ROOT
from playwright.sync_api import Page


def frame_of(name: str) -> str:
    """The lab's frames in a page of the book."""
    text = (ROOT / "book" / name).read_text("utf-8")
    return "".join(re.findall(r"```\{raw\} html\n(.*?)```", text, re.DOTALL))


def page_around(frame: str) -> str:
    return f'<!doctype html><meta charset="utf-8"><title>Lab</title>{frame}'


def make_site(folder: Path) -> Path:
    """The page's frames as MyST puts them into a page, beside the files they load."""
    shutil.copytree(ROOT / "book" / "_static", folder / "_static")
    (folder / "book").mkdir()
    page = folder / "book" / "lab.html"
    page.write_text(page_around(frame_of("lab.md")), "utf-8")
    return page


@contextmanager
def watched(page: Page) -> Iterator[None]:
    """Afterwards nothing went to another place, and nothing was an error."""
    wrong = []
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(request.url[:200]))
    page.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else wrong.append(r.url),
    )
    yield
    assert wrong == []


def start(page: Page, site: Path, kind: str) -> None:
    """Press the button of one kind of lab."""
    page.set_default_timeout(120_000)
    page.goto(site.as_uri())
    assert page.locator("script[src*=network]").count() == 0  # nothing before the click
    page.locator(f"[data-lab={kind}]").get_by_role("button", name="Start the lab").click()
