"""Print the built site as one PDF: its pages in the order of the contents, with links among them.

python book/pdf.py _build/html _build/pruning.pdf
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import yaml
from playwright.sync_api import Page, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, NameObject

from prunekit.storage.files import replacing

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
# A4 less its margins, in the pixels of a page that is printed at this scale.
SCALE, MARGIN_MM, WIDTH_MM, PIXELS_PER_MM = 0.8, 15, 210, 96 / 25.4
WIDTH = int((WIDTH_MM - 2 * MARGIN_MM) * PIXELS_PER_MM / SCALE)
# Whatever reaches beyond the paper, or hides its end in a box that a reader of paper cannot scroll.
CUT = """() => {
    const inside = document.querySelector(".bd-article");
    const right = inside.getBoundingClientRect().right + 1;
    const beyond = (e) => e.getBoundingClientRect().right > right;
    const scrolls = (e) =>
        getComputedStyle(e).overflowX !== "visible" && e.scrollWidth > e.clientWidth + 1;
    return [...inside.querySelectorAll("pre, table, img, svg, mjx-container, div.output")]
        .filter((e) => e.getClientRects().length && (beyond(e) || scrolls(e)))
        .map((e) => `${e.tagName}: ${(e.innerText || e.alt || "").slice(0, 80)}`);
}"""


def contents() -> list[str]:
    """The pages of the book, by their names without a suffix, in order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    return [toc["root"], *(page["file"] for part in toc["parts"] for page in part["chapters"])]


def cut_on_paper(page: Page) -> list[str]:
    """Lay the open page out as it will be printed, and name what the paper would cut."""
    page.set_viewport_size({"width": WIDTH, "height": 1200})
    page.emulate_media(media="print", color_scheme="light")
    page.evaluate("() => window.MathJax ? MathJax.startup.promise : null")
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    page.evaluate(
        "Promise.all([...document.images].map((one) => ((one.loading = 'eager'), one.decode())))"
    )
    return page.evaluate(CUT)


def printed(page: Page) -> PdfReader:
    """The page that stands open, as PDF."""
    sides = dict.fromkeys(("top", "right", "bottom", "left"), f"{MARGIN_MM}mm")
    return PdfReader(io.BytesIO(page.pdf(format="A4", scale=SCALE, margin=sides)))


def bound(parts: dict[str, tuple[str, PdfReader]], site: Path) -> PdfWriter:
    """All parts as one document with an outline; links among them lead to the part's first page.

    ``parts`` has for each page's name its title and what was printed of it.
    """
    book, first = PdfWriter(), {}
    for name, (title, reader) in parts.items():
        first[(site / f"{name}.html").as_uri()] = len(book.pages)
        book.append(reader, outline_item=title)
    for page in book.pages:
        for reference in page.get("/Annots", ()):
            link = reference.get_object()
            address, _, _ = link.get("/A", {}).get("/URI", "").partition("#")
            if address in first:
                del link[NameObject("/A")]
                goal = book.pages[first[address]].indirect_reference
                link[NameObject("/Dest")] = ArrayObject([goal, NameObject("/Fit")])
    return book


def main(site: Path, target: Path) -> None:
    if CHROMIUM is None:
        sys.exit("no Chromium: install it, or set CHROMIUM to its path")
    parts = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page()
        page.set_default_timeout(120_000)  # a busy machine is no fault of the page
        for name in contents():
            page.goto((site / f"{name}.html").as_uri(), wait_until="load")
            if cut := cut_on_paper(page):
                sys.exit(f"{name} is cut on paper: {'; '.join(cut)}")
            title = page.title().split(" — ")[0]
            parts[name] = title, printed(page)
            print(f"{name}: {len(parts[name][1].pages)} pages", flush=True)
        browser.close()
    with replacing(target) as temporary:
        bound(parts, site).write(temporary)
    print(f"The book: {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
