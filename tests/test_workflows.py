"""What runs on GitHub: fixed actions, few rights, and nothing that both builds and publishes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(
    set((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) - {GITHUB / "ISSUE_TEMPLATE/config.yml"}
)
# The commit of a release, and the release beside it for those who read.
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")

by_name = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)


def parsed(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text("utf-8"))


def writes(permissions: str | dict[str, str]) -> bool:
    levels = [permissions] if isinstance(permissions, str) else permissions.values()
    return any("write" in level for level in levels)


def test_workflows_are_found():
    assert {path.stem for path in WORKFLOWS} == {"arm", "release", "site", "test"}


@by_name
def test_actions_are_pinned_by_commit(workflow):
    lines = [line.strip() for line in workflow.read_text("utf-8").splitlines()]
    used = [line.removeprefix("- ") for line in lines if re.match(r"(- )?uses:", line)]
    assert used
    assert not [line for line in used if not PINNED.match(line)]


def test_an_action_has_one_version_everywhere():
    used = re.findall(r"uses: (\S+)@(\S+)", "\n".join(p.read_text("utf-8") for p in WORKFLOWS))
    assert len({action for action, _ in used}) == len(set(used))


@by_name
def test_workflow_may_read_and_no_more(workflow):
    assert parsed(workflow)["permissions"] == {"contents": "read"}


@by_name
def test_job_that_may_write_runs_no_code_of_the_repository(workflow):
    for name, job in parsed(workflow)["jobs"].items():
        if writes(job.get("permissions", {})):
            actions = [step.get("uses", "").partition("@")[0] for step in job["steps"]]
            assert all(actions), f"{name} runs a command"
            assert "actions/checkout" not in actions, name
            assert job["needs"] == "build"


@by_name
def test_checkout_leaves_no_token_behind(workflow):
    for job in parsed(workflow)["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_each_supported_python_is_tested_on_each_system():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    supported = re.findall(r"Programming Language :: Python :: (3\.\d+)", project)
    matrix = parsed(GITHUB / "workflows" / "test.yml")["jobs"]["library"]["strategy"]["matrix"]
    assert matrix["python"] == supported
    assert [system.partition("-")[0] for system in matrix["system"]] == [
        "ubuntu",
        "macos",
        "windows",
    ]


def test_tests_of_the_library_are_there_and_use_no_call_of_one_system_only():
    steps = parsed(GITHUB / "workflows" / "test.yml")["jobs"]["library"]["steps"]
    names = re.findall(r"tests/\w+\.py", steps[-1]["run"])
    assert len(names) > 10
    only_posix = re.compile(r"import (resource|fcntl|pwd)|SIGKILL|SIGALRM|os\.fork|symlink_to")
    for name in names:
        assert not only_posix.search((ROOT / name).read_text("utf-8")), name


def test_site_is_built_with_the_data_that_its_chapters_are_about():
    steps = parsed(GITHUB / "workflows" / "site.yml")["jobs"]["build"]["steps"]
    commands = [step.get("run", "") for step in steps]
    (download,) = (n for n, c in enumerate(commands) if "stand_in=False" in c and "cifar10" in c)
    assert download < commands.index("make book")


def made(steps: list[dict[str, Any]]) -> list[str]:
    """What the steps of a job ask of make, without settings such as PROFILE=smoke."""
    lines = [line for step in steps for line in step.get("run", "").splitlines()]
    asked = [line.partition(" #")[0].split()[1:] for line in lines if line.startswith("make ")]
    return [word for words in asked for word in words if "=" not in word]


@by_name
def test_what_is_made_is_in_the_makefile(workflow):
    targets = re.findall(r"^([\w-]+|\$\(STAMP\)):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    known = {target.replace("$(STAMP)", ".venv/installed") for target in targets}
    for name, job in parsed(workflow)["jobs"].items():
        assert set(made(job["steps"])) <= known, name


def test_what_a_class_needs_is_made_and_graded():
    steps = parsed(GITHUB / "workflows" / "test.yml")["jobs"]["classroom"]["steps"]
    assert {"slides", "pdf", "student", "otter"} <= set(made(steps))
    (graders,) = (step["run"] for step in steps if "pytest" in step.get("run", ""))
    for name in re.findall(r"tests/\w+\.py", graders):
        assert (ROOT / name).is_file()
    assert "tests/test_assignments.py" in graders and "tests/test_otter.py" in graders
    kept = steps[-1]["with"]
    assert kept["if-no-files-found"] == "error"
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for path in kept["path"].split():
        assert path.rstrip("/") in makefile.replace("$(BUILD)/", ""), f"{path} is not made"


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_issue_form_is_whole(form):
    content = parsed(form)
    assert content["name"] and content["description"]
    fields = content["body"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["type"] in ("input", "textarea") for field in fields)
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)
