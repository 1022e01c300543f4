"""Programs that are not trusted to come to an end, or to be brief."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, BinaryIO

from prunekit.errors import PrunekitError

#: What a program may write to each of its two outputs.
OUTPUT_BYTES = 4 << 20
#: Seconds a program gets where nobody says otherwise.
TIME_LIMIT = 600.0


class Stopped(PrunekitError, RuntimeError):
    """A program was ended, with all it had started: it took too long, or wrote too much."""


def finish(
    command: Sequence[str],
    seconds: float,
    *,
    folder: Path | None = None,
    source: BinaryIO | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end and collect its outputs.

    Parameters
    ----------
    seconds
        After which it is ended, together with everything it started.
    folder
        Where it runs.
    source
        An open file that it reads; by default it reads nothing.

    Raises
    ------
    Stopped
        It took longer, or wrote more than :data:`OUTPUT_BYTES`.

    Examples
    --------
    >>> finish(["echo", "done"], seconds=10).stdout
    b'done\\n'
    >>> finish(["sleep", "10"], seconds=0.01)
    Traceback (most recent call last):
    prunekit.deploy.processes.Stopped: no end after 0.01 seconds
    """
    end = time.monotonic() + seconds
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=source or subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe]
            output, errors = _read(pipes, end)
            process.wait(max(0.0, end - time.monotonic()))
        except BaseException as error:
            # Its group, for a runner has children of its own.
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, TimeoutError | subprocess.TimeoutExpired):
                raise Stopped(f"no end after {seconds:g} seconds") from None
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def _read(streams: Sequence[IO[bytes]], end: float) -> list[bytes]:
    """All that comes out of each of some pipes, until all are closed."""
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ, bytearray())
        found = [selector.get_key(stream).data for stream in streams]
        while selector.get_map():
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for key, _ in selector.select(left):
                chunk = os.read(key.fd, 1 << 16)
                key.data.extend(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
                if len(key.data) > OUTPUT_BYTES:
                    raise Stopped(f"it wrote more than {OUTPUT_BYTES:,} bytes")
    return [bytes(data) for data in found]
