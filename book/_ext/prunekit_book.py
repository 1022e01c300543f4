"""What this book adds to Sphinx: the profile, an honest execution cache, local scripts only."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import slides
import vendor
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

PROFILES = ("smoke", "quick", "full")
RETURNED = "Return value"  # also in _config.yml, napoleon_custom_sections
# Outputs depend on all of these, and the execution cache itself looks at code cells alone.
INPUTS = (
    "prunekit/**/*.py",
    "prunekit/**/*.js",
    "prunekit/**/*.css",
    "notebooks/quizzes/*.json",
    "book/results/**/*",
    "constraints.txt",
)


def configure(app: Sphinx, config: Config) -> None:
    """Choose the profile, fetch what is missing, name the execution cache after all inputs."""
    profile = os.environ.get("PROFILE", "quick")
    if profile not in PROFILES:
        raise ExtensionError(f"PROFILE is {profile!r}; it must be one of {', '.join(PROFILES)}")
    config.prunekit_profile = profile
    vendor.ensure()
    if profile != "smoke" and not _data_at_hand():
        # Fetched by a notebook, it would change the fingerprint below with every page built.
        from prunekit.data import load_dataset

        print("Looking for CIFAR-10", flush=True)
        load_dataset("cifar10")
    current = execution_cache(Path(app.srcdir), Path(app.outdir), profile)
    for stale in current.parent.glob(f"{profile}-*"):
        if stale != current:
            shutil.rmtree(stale)
    config.nb_execution_cache_path = str(current)


def execution_cache(root: Path, site: Path, profile: str) -> Path:
    """Where the executed chapters of a site are kept, by all that their outputs depend on."""
    return site.parent / "executed" / f"{profile}-{_fingerprint(root)}"


def _fingerprint(root: Path) -> str:
    """Hash prunekit, the recorded results, the pinned versions and the data at hand."""
    digest = hashlib.sha256()
    for pattern in INPUTS:
        for path in sorted(root.glob(pattern)):
            if path.is_file():
                digest.update(path.relative_to(root).as_posix().encode())
                digest.update(path.read_bytes())
    digest.update(repr(_data_at_hand()).encode())
    return digest.hexdigest()[:16]


def _data_at_hand() -> list[str]:
    """Name the copies of CIFAR-10 among the data sets."""
    folder = Path(os.environ.get("PRUNEKIT_DATA") or "~/.cache/prunekit").expanduser()
    return [path.name for path in sorted(folder.glob("cifar*")) if path.is_dir()]


def inject_profile(app: Sphinx, docname: str, source: list[str]) -> None:
    """Set PROFILE in a notebook, as :func:`with_profile` does."""
    if app.env.doc2path(docname).endswith(".ipynb"):
        notebook = json.loads(source[0])
        try:
            source[0] = json.dumps(with_profile(notebook, app.config.prunekit_profile))
        except ValueError as error:
            raise ExtensionError(f"{docname}: {error}") from error


def with_profile(notebook: dict[str, Any], profile: str) -> dict[str, Any]:
    """Set PROFILE in a notebook's cell tagged ``parameters``, as papermill would.

    The page does not show that cell: its reader cannot choose any more.
    """
    cells = [c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", ())]
    if len(cells) != 1:
        raise ValueError(f"one cell must be tagged 'parameters', not {len(cells)}")
    cells[0]["source"] = f'PROFILE = "{profile}"'
    cells[0]["metadata"]["tags"].append("remove-cell")
    return notebook


def copy_scripts(app: Sphinx) -> None:
    """Put the vendored scripts into the site before pages refer to them."""
    if app.builder.format == "html":
        vendor.copy(Path(app.outdir) / "_static")


# jupyterquiz polls for MathJax half a second after it ran and, finding none, loads one from a
# content delivery network. Wait for the page's own instead.
QUIZ_MATH = re.compile(
    r"// Trigger MathJax typesetting if available.*?"
    r"(?=// if \(typeof MathJax !== 'undefined'\))",
    re.DOTALL,
)
QUIZ_MATH_LOCAL = """window.addEventListener("load", () => {
        MathJax.startup.promise.then(() => MathJax.typesetPromise([container]));
    });
    """


def mend_body(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Keep quizzes local, and make the entries of the bibliography items, as a list must have."""
    if "body" in context:
        body = QUIZ_MATH.sub(lambda _: QUIZ_MATH_LOCAL, context["body"])
        context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def plain_returns(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Show what a function returns as the sentences that they are.

    Napoleon takes each line of that section for a type, which is right only
    where lines below one are indented. Under a title of their own they are text.
    """
    begin = next((i for i in range(len(lines) - 1) if _heads(lines, i, "Returns")), None)
    if begin is None:
        return
    end = next((i for i in range(begin + 2, len(lines) - 1) if _heads(lines, i)), len(lines))
    if not any(line.startswith(" ") for line in lines[begin + 2 : end]):
        lines[begin : begin + 2] = [RETURNED, "-" * len(RETURNED)]


def _heads(lines: list[str], place: int, title: str | None = None) -> bool:
    """Whether a section of a docstring begins here."""
    line, rule = lines[place].strip(), lines[place + 1].strip()
    return bool(line) and set(rule) == {"-"} and len(rule) > 2 and title in (None, line)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("prunekit_profile", "quick", "env")
    app.set_html_assets_policy("always")  # a quiz may hold the only equation of its page
    app.connect("config-inited", configure)
    app.connect("builder-inited", copy_scripts)
    app.connect("source-read", inject_profile)
    app.connect("autodoc-process-docstring", plain_returns, priority=400)  # before napoleon
    app.connect("html-page-context", mend_body)
    app.connect("build-finished", slides.write_decks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
