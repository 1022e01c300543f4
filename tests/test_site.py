"""Every chapter runs, and the site built of them is whole: in a real browser, the network cut.

Chapters run top to bottom in profile smoke, as a reader's `papermill` would run them. On the way
each exercise that is to be built is met as a student meets it: its stub runs, and its check stops
at the first thing that is not there. The site shows what these runs put out; a chapter that has
not run, as where one test is chosen, is executed as the site is built.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import nbformat
import papermill
import pytest
from axe_playwright_python.sync_playwright import Axe
from chapters import BUILD, NOTEBOOKS, STOPPED, keep_for_the_site, with_stubs

from prunekit.book.student import SOLUTION, is_tagged

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))
import pdf  # noqa: E402

CONTENT = pdf.contents()
PAGES = [*CONTENT, "genindex", "search"]
DECKS = sorted(path.stem for path in (ROOT / "book/classroom/slides").glob("*.md"))
PHONE = {"width": 390, "height": 844}
WIDE = {"width": 1400, "height": 900}
SPHINX = {"definition-list": {"enabled": False}}  # it puts headings into those of the reference

# Commands, dollars and brackets of TeX or MyST that a reader should never see.
RAW = re.compile(
    r"\\[a-zA-Z]{2,}|\\[()\[\]]|\$\$|\$[^$\n]{1,80}\$|\{[a-z:]+\}`|^:{3,}", re.MULTILINE
)
VISIBLE_TEXT = """() => {
    const skip = "pre, code, script, style, textarea, mjx-container";
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const parts = [];
    while (walker.nextNode()) {
        if (!walker.currentNode.parentElement.closest(skip)) parts.push(walker.currentNode.data);
    }
    return parts.join("\\n");
}"""

# Tables and code that show a part of themselves and must be scrolled for the rest.
SCROLLED = """() => {
    const page = document.querySelector(".bd-article") ?? document.body;
    const scrolls = (e) => e !== page && ((getComputedStyle(e).overflowX !== "visible"
        && e.scrollWidth > e.clientWidth + 1) || scrolls(e.parentElement));
    return [...page.querySelectorAll("table, pre")]
        .filter((e) => e.getClientRects().length && scrolls(e))
        .map((e) => e.innerText.slice(0, 80));
}"""


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_chapter_runs(notebook, tmp_path):
    chapter = with_stubs(nbformat.read(notebook, as_version=4))
    nbformat.write(chapter, tmp_path / "chapter.ipynb")
    executed = papermill.execute_notebook(
        tmp_path / "chapter.ipynb",
        tmp_path / notebook.name,
        parameters={"PROFILE": "smoke"},
        kernel_name="python3",
        cwd=notebook.parent,
        progress_bar=False,
        execution_timeout=120,
    )
    injected = [cell for cell in executed.cells if is_tagged(cell, "injected-parameters")]
    assert len(injected) == 1, "the chapter has no cell tagged 'parameters'"
    stopped = [cell for cell in executed.cells if STOPPED in str(cell.get("outputs"))]
    assert len(stopped) == sum(is_tagged(cell, SOLUTION) for cell in chapter.cells) >= 1
    keep_for_the_site(notebook, executed)


@pytest.fixture(scope="session")
def site() -> Path:
    """Build the book in profile smoke, as `make book` builds it, and return its folder."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS")}
    # The environment that runs the tests is the one that builds: no second installation.
    here = [f"BIN={Path(sys.executable).parent}", "STAMP="]
    done = subprocess.run(
        ["make", "--no-print-directory", "book", "PROFILE=smoke", f"BUILD={BUILD}", *here],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    index = Path(done.stdout.rstrip().rsplit("The book: ")[-1])
    assert index.is_file()
    return index.parent


@pytest.fixture(scope="session")
def server(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Say nothing: pytest's output is for test results."""

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.fixture
def watched(page):
    """Return a page with no way out, and the list of all that goes wrong on it."""
    wrong: list[str] = []

    def decide(route):
        url = urlsplit(route.request.url)
        if url.scheme in ("http", "https") and url.hostname != "127.0.0.1":
            wrong.append(f"outside request: {route.request.url}")
            route.abort()
        else:
            route.continue_()

    page.route("**/*", decide)
    page.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("requestfailed", lambda r: wrong.append(f"failed: {r.url}"))
    page.on("response", lambda r: wrong.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    return page, wrong


def open_page(page, url: str) -> None:
    """Open ``url`` and wait until its equations stand."""
    page.set_default_timeout(120_000)  # a busy machine is no fault of the page
    page.goto(url, wait_until="load")
    page.evaluate("() => window.MathJax ? MathJax.startup.promise : null")
    page.wait_for_load_state("networkidle")


def barriers(page) -> list[str]:
    """What keeps some readers out, by axe: what it calls serious or critical, in both colours."""
    found = []
    page.add_style_tag(content="* { transition: none !important; }")  # a colour on its way is none
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
        # Left to itself, axe fetches imported style sheets again, and from the wrong folder.
        options = {"resultTypes": ["violations"], "preload": False, "rules": SPHINX}
        checked = Axe().run(page, options=options).response
        for fault in checked["violations"]:
            if fault["impact"] in ("serious", "critical"):
                places = "; ".join(node["html"][:100] for node in fault["nodes"][:3])
                found.append(f"{scheme}: {len(fault['nodes'])} x {fault['id']}: {places}")
    return found


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole_with_the_network_cut(watched, server, name):
    page, wrong = watched
    open_page(page, f"{server}/{name}.html")
    wrong += [f"raw markup: {m[0]!r}" for m in RAW.finditer(page.evaluate(VISIBLE_TEXT))]
    wrong += [
        f"equation: {e.get_attribute('data-mjx-error')}"
        for e in page.locator("[data-mjx-error]").all()
    ]
    for image in page.locator("main img").all():
        source = (image.get_attribute("src") or "")[:80]
        if not (image.get_attribute("alt") or "").strip():
            wrong.append(f"no alt text: {source}")
        if not image.evaluate("i => (i.loading = 'eager', i.decode().then(() => i.naturalWidth))"):
            wrong.append(f"empty image: {source}")
    wrong += barriers(page)
    page.set_viewport_size(WIDE)
    wrong += [f"to be scrolled: {text}" for text in page.evaluate(SCROLLED)]
    page.set_viewport_size(PHONE)
    width = page.evaluate("document.documentElement.scrollWidth")
    if width > PHONE["width"]:
        wrong.append(f"{width} pixels wide on a phone of {PHONE['width']}")
    assert not wrong, "\n".join(wrong)


def test_charts_turn_dark_and_pictures_stay_as_they_are(watched, server):
    page, _ = watched
    page.emulate_media(color_scheme="dark")
    open_page(page, f"{server}/notebooks/03_data_and_squeezenet.html")
    turned = "i => getComputedStyle(i).filter.startsWith('invert')"
    for image in page.locator("div.cell_output img").all():
        kept = "pictures" in (image.get_attribute("class") or "")
        assert image.evaluate(turned) != kept, image.get_attribute("alt")
    assert page.locator("div.cell_output img.pictures").count() == 3


def test_a_chart_keeps_its_letters_on_a_phone_and_code_its_ends(watched, server):
    page, _ = watched
    page.set_viewport_size(PHONE)
    open_page(page, f"{server}/notebooks/10_where_the_filters_go.html")
    widths = "all => all.map(i => i.getBoundingClientRect().width)"
    charts = page.eval_on_selector_all("div.cell_output img", widths)
    assert charts and min(charts) >= 600
    cut = "all => all.filter(p => p.scrollWidth > p.clientWidth + 1).map(p => p.innerText)"
    assert page.eval_on_selector_all("div.cell_input pre", cut) == []


def test_moving_figures_move_in_the_dark_and_stand_on_no_light_panel(watched, server):
    page, wrong = watched
    page.emulate_media(color_scheme="dark")
    open_page(page, f"{server}/notebooks/11_accuracy_against_ratio.html")
    figure = page.locator(".moving-figure")
    panel = figure.locator("xpath=ancestor::div[contains(@class, 'text_html')]")
    assert panel.evaluate("p => getComputedStyle(p).backgroundColor") == "rgba(0, 0, 0, 0)"
    before = figure.locator(".reading").text_content()
    figure.locator("input[type=range]").press("ArrowRight")
    assert figure.locator(".reading").text_content() != before
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", CONTENT)
def test_page_opens_from_disk(watched, site, name):
    page, wrong = watched
    open_page(page, (site / f"{name}.html").as_uri())
    wrong += [f"cut on paper: {part}" for part in pdf.cut_on_paper(page)]
    assert not wrong, "\n".join(wrong)


def test_the_printed_book_has_an_outline_and_its_links_lead_to_its_own_pages(watched, site):
    page, _ = watched
    parts = {}
    for name in ("book/index", "book/thesis"):
        open_page(page, (site / f"{name}.html").as_uri())
        assert pdf.cut_on_paper(page) == []
        parts[name] = name, pdf.printed(page)
    pages = [len(reader.pages) for _, reader in parts.values()]
    book = pdf.bound(parts, site)
    assert len(book.pages) == sum(pages) and min(pages) > 1
    assert [entry["/Title"] for entry in book.outline] == list(parts)
    links = [a.get_object() for p in book.pages[: pages[0]] for a in p.get("/Annots", ())]
    within = [link["/Dest"] for link in links if isinstance(link.get("/Dest"), list)]
    goals = [destination[0].get_object() for destination in within]
    assert book.pages[pages[0]] in goals  # from the front page to the thesis at a glance


def test_search_finds_pages(watched, server):
    page, wrong = watched
    page.goto(f"{server}/search.html?q=filter")
    page.locator("#search-results li").first.wait_for()
    assert not wrong, "\n".join(wrong)


def test_quiz_answers(watched, server):
    page, wrong = watched
    chapter = next(name for name in CONTENT if name.startswith("notebooks/"))
    open_page(page, f"{server}/{chapter}.html")
    page.locator(".MCButton").first.click()
    page.locator(".Feedback:visible").first.wait_for()
    feedback = page.locator(".Feedback:visible").first
    assert feedback.inner_text().strip() and feedback.get_attribute("aria-live") == "polite"
    assert not wrong, "\n".join(wrong)


class Links(HTMLParser):
    """Gather what a page refers to and the anchors it offers."""

    def __init__(self, page: Path):
        super().__init__()
        self.targets: set[str] = set()
        self.loads: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value for key, value in attrs if value}
        self.anchors |= {given[key] for key in ("id", "name") if key in given}
        if tag in ("a", "link") and "href" in given:
            (self.targets if tag == "a" else self.loads).add(given["href"])
        if "src" in given:
            self.loads.add(given["src"])


def html_files(site: Path) -> list[Path]:
    """Every page of the site; `_static` and `_sources` hold what the theme left there."""
    return [p for p in site.rglob("*.html") if not p.relative_to(site).parts[0].startswith("_")]


@pytest.mark.parametrize("name", DECKS)
def test_slides_are_whole_with_the_network_cut(watched, server, name):
    page, wrong = watched
    page.goto(f"{server}/slides/{name}.html")
    page.wait_for_function("window.Reveal?.isReady() && window.MathJax?.startup?.promise")
    page.evaluate(
        "Promise.all([MathJax.startup.promise, ...[...document.images].map((i) => i.decode())])"
    )
    measured = page.evaluate(
        """() => Reveal.getSlides().map((slide, place) => {
            Reveal.slide(place);
            const { width, height } = Reveal.getConfig();
            return [slide.innerText, slide.scrollHeight <= height && slide.scrollWidth <= width];
        })"""
    )
    assert [text for text, fits in measured if not fits] == []
    assert not RAW.search("\n".join(text for text, _ in measured))
    assert not wrong, "\n".join(wrong)


def test_every_local_link_leads_somewhere(site):
    pages = {path.resolve(): Links(path) for path in html_files(site)}
    broken = []
    for path, page in pages.items():
        for target in page.targets | page.loads:
            address, anchor = urldefrag(target)
            if urlsplit(address).scheme or address.startswith("//"):
                if target in page.loads and not address.startswith("data:"):
                    broken.append(f"{path.name} loads {target}")
                continue
            local = unquote(urlsplit(address).path)
            found = (path.parent / local).resolve() if local else path
            known = pages.get(found)
            if not found.exists() or (known and anchor and unquote(anchor) not in known.anchors):
                broken.append(f"{path.name} links to {target}")
    assert not broken, "\n".join(broken)


def test_no_page_is_heavy(site):
    sizes = {path.relative_to(site).as_posix(): path.stat().st_size for path in html_files(site)}
    assert {name: size for name, size in sizes.items() if size > 500_000} == {}


def test_every_page_was_opened(site):
    known = {f"{name}.html" for name in [*PAGES, "index"]}  # index.html only redirects
    known |= {f"slides/{name}.html" for name in DECKS}
    assert {path.relative_to(site).as_posix() for path in html_files(site)} == known
