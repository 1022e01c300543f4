"""A board that ssh reaches: scripts run there, and bundles copied to it."""

from __future__ import annotations

import math
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from prunekit.deploy.archives import ROOT, SUMS
from prunekit.deploy.bundles import TargetError
from prunekit.deploy.processes import Stopped, finish

#: Seconds to connect, at most.
CONNECT = 10


@dataclass(frozen=True)
class Board:
    """A host that ssh reaches. Keys are verified, and nothing is ever asked."""

    name: str
    command: tuple[str, ...]
    time_limit: float

    @classmethod
    def from_url(
        cls,
        url: str,
        identity: str | Path | None,
        known_hosts: str | Path | None,
        time_limit: float,
    ) -> Board:
        try:
            parts = urlsplit(url)
            host, port, user = parts.hostname, parts.port, parts.username
        except ValueError as error:
            raise TargetError(f"{url}: {error}") from error
        # A name that starts with a dash would be an option to ssh.
        if (
            not host
            or host.startswith("-")
            or (user or "").startswith("-")
            or parts.path.strip("/")
        ):
            raise TargetError(f"{url} is not of the form ssh://user@host[:port]")
        if shutil.which("ssh") is None:
            raise TargetError("ssh is not installed")
        options = ["BatchMode=yes", "StrictHostKeyChecking=yes", "ControlMaster=no"]
        options.append(f"ConnectTimeout={min(CONNECT, math.ceil(time_limit))}")
        if known_hosts:
            options.append(f'UserKnownHostsFile="{Path(known_hosts).absolute()}"')
        if identity:
            options.append("IdentitiesOnly=yes")
        command = ["ssh", *(part for option in options for part in ("-o", option))]
        command += ["-i", str(identity)] if identity else []
        command += ["-p", str(port)] if port else []
        return cls(host, (*command, f"{user}@{host}" if user else host), time_limit)

    def run(
        self, script: str, step: str, source: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a shell script there, fed from a file.

        The board ends it after the time limit, even if the connection is
        lost; this machine waits for a little longer than that.
        """
        seconds = math.ceil(self.time_limit)
        there = f"LC_ALL=C timeout -s KILL {seconds} sh -c {shlex.quote(script)}"
        start = time.monotonic()
        try:
            with source.open("rb") if source else nullcontext() as stream:
                limit = seconds + min(CONNECT, seconds)
                done = finish([*self.command, there], limit, source=stream)
        except Stopped as error:
            raise TargetError(f"{self.name}: {step} was ended: {error}") from error
        killed = done.returncode in (124, 137, 255)
        if killed and time.monotonic() - start >= seconds:
            raise TargetError(f"{self.name}: {step} was ended: no end after {seconds} seconds")
        if done.returncode == 255:
            raise TargetError(_unreachable(self.name, _words(done.stderr)))
        return done

    def look(self, folder: str) -> tuple[str, int | None]:
        """The board's architecture, and the bytes free in a folder as far as it tells."""
        done = self.run(f"uname -m && df -Pk {shlex.quote(folder)}", "connecting")
        if done.returncode:
            raise TargetError(f"{self.name}: cannot use {folder}: {_end(done.stderr)}")
        lines = _words(done.stdout).strip().splitlines()
        if len(lines) < 3:
            raise TargetError(f"{self.name}: `uname -m` and `df` say nothing: {_end(done.stdout)}")
        free = re.search(r"\b(\d{1,18})\s+\d+%", lines[-1])
        return lines[-3][:40], 1024 * int(free[1]) if free else None

    def full(self, folder: str) -> str:
        return f"{self.name} has no room in {folder} for the bundle: pass another folder"

    @contextmanager
    def scratch(self, folder: str) -> Iterator[str]:
        """A new folder on the board, quoted for its shell, and removed at the end."""
        pattern = f"{folder}/prunekit."
        made = self.run(f"mktemp -d {shlex.quote(pattern + 'XXXXXX')}", "making a folder")
        self._expect(made, folder, "making a folder")
        name = _words(made.stdout).strip()
        if not re.fullmatch(re.escape(pattern) + r"\w+", name):
            raise TargetError(f"{self.name}: `mktemp` made no folder there: {_end(made.stdout)}")
        remove = f"rm -rf {shlex.quote(name)}"
        brief = replace(self, time_limit=min(self.time_limit, 30))
        try:
            yield shlex.quote(name)
        except BaseException:
            # The first error says more than that nothing answers any longer.
            with suppress(TargetError):
                brief.run(remove, "cleaning up")
            raise
        brief.run(remove, "cleaning up")

    def send(self, parcel: Path, scratch: str) -> None:
        """Copy a bundle there, unpack it, and have the board check every file."""
        sent = self.run(f"cd {scratch} && gzip -dc | tar -xf -", "copying", parcel)
        self._expect(sent, scratch, "copying")
        checked = self.run(f"cd {scratch}/{ROOT} && sha256sum -c {SUMS}", "verifying")
        bad = re.findall(r"^(.+): FAILED", _words(checked.stdout), re.MULTILINE)
        if bad:
            names = ", ".join(bad)[:300]
            raise TargetError(f"{self.name}: {names} arrived changed: send it again")
        if checked.returncode:
            raise TargetError(f"{self.name}: cannot verify the bundle: {_end(checked.stderr)}")

    def _expect(self, done: subprocess.CompletedProcess[bytes], folder: str, step: str) -> None:
        if b"No space left" in done.stderr:
            raise TargetError(self.full(folder))
        if done.returncode:
            reason = _end(done.stderr)
            raise TargetError(f"{self.name}: {step} failed ({done.returncode}): {reason}")


def _unreachable(host: str, stderr: str) -> str:
    if "HOST IDENTIFICATION HAS CHANGED" in stderr:
        return f"{host} shows another host key than the known one: make sure who answers there"
    if "Host key verification failed" in stderr:
        return (
            f"the host key of {host} is not known: connect once with ssh and compare its "
            "fingerprint with the board's, or pass known_hosts"
        )
    if "Permission denied" in stderr:
        return f"{host} does not accept the key: install it with ssh-copy-id, or pass identity"
    reason = " ".join(line for line in stderr.splitlines() if not line.startswith("Warning"))
    return f"{host} cannot be reached: {reason.strip()[-300:]}"


def _words(output: bytes) -> str:
    return output.decode("utf-8", "replace")


def _end(output: bytes) -> str:
    return _words(output).strip()[-300:]
