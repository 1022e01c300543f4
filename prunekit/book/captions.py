"""The line under a figure or table that says where its numbers were recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any


def origin(subject: str, records: Sequence[Mapping[str, Any]]) -> str:
    """Data, seeds, time, machine, commit and command of recorded numbers, in one line.

    Parameters
    ----------
    subject
        What was recorded, in Markdown.
    records
        Provenance of each run, as :func:`prunekit.storage.provenance.provenance` gives it. The
        first speaks for all, but for seeds, time, machines and commits.

    Examples
    --------
    >>> machine = {"processor": "Chip", "instruction_set": "AVX2", "accelerator": None}
    >>> run = {"data": "digits", "machine": machine | {"threads": 1}, "seconds": 90,
    ...        "commit": "abcdef0123", "command": "make it"}
    >>> origin("Study `x`", [run | {"seed": 0}, run | {"seed": 1}])
    'Study `x`: digits, seeds 0, 1; 3 minutes on Chip (AVX2), 1 thread; commit abcdef0, `make it`.'
    >>> later = run | {"seed": 1, "commit": "9876543210"}
    >>> origin("Study `x`", [run | {"seed": 0}, later]).split("; ")[-1]
    'commits abcdef0, 9876543, `make it`.'
    """
    first = records[0]
    settings = first.get("settings", {})
    pixels = f" at {settings['input_size']} pixels" if "input_size" in settings else ""
    seeds = sorted({record["seed"] for record in records})
    # Runs of one study may be recorded months apart, and each begins where the code then was.
    machines = dict.fromkeys(_machine(record["machine"]) for record in records)
    commits = dict.fromkeys(record["commit"][:7] for record in records)
    return (
        f"{subject}: {first['data']}{pixels}, {_listed('seed', seeds)}; "
        f"{_duration(sum(record['seconds'] for record in records))} on {' and '.join(machines)}; "
        f"{_listed('commit', commits)}, `{first['command']}`."
    )


def _machine(machine: Mapping[str, Any]) -> str:
    processor = machine["accelerator"] or f"{machine['processor']} ({machine['instruction_set']})"
    return f"{processor}, {_counted(machine['threads'], 'thread')}"


def _listed(what: str, found: Collection[Any]) -> str:
    return f"{what}{'' if len(found) == 1 else 's'} {', '.join(map(str, found))}"


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} hours"
    return _counted(round(seconds / 60), "minute") if seconds >= 60 else f"{seconds:.0f} seconds"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
