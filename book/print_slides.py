"""Print the slides of the built site, a PDF a deck.

python book/print_slides.py _build/html _build/slides
"""

from __future__ import annotations

import sys
from pathlib import Path

from pdf import CHROMIUM
from playwright.sync_api import sync_playwright

from prunekit.storage.files import replacing

# The pages of the printed deck stand once every picture and formula does.
STANDS = """async () => {
    await MathJax.startup.promise;
    await Promise.all([...document.images].map((one) => one.decode()));
    return document.querySelectorAll(".pdf-page").length;
}"""


def main(site: Path, target: Path) -> None:
    if CHROMIUM is None:
        sys.exit("no Chromium: install it, or set CHROMIUM to its path")
    decks = sorted((site / "slides").glob("*.html"))
    if not decks:
        sys.exit(f"{site} has no slides: run make book first")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page()
        page.set_default_timeout(120_000)  # a busy machine is no fault of the page
        for deck in decks:
            page.goto(f"{deck.as_uri()}?print-pdf", wait_until="load")
            page.wait_for_selector(".pdf-page")
            slides = page.evaluate(STANDS)
            with replacing(target / f"{deck.stem}.pdf") as temporary:
                page.pdf(path=temporary, prefer_css_page_size=True, print_background=True)
            print(f"{deck.stem}: {slides} slides", flush=True)
        browser.close()
    print(f"The slides: {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
