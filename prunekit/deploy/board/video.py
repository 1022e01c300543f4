"""A video or camera through a network, to a video with what it saw and frames a second drawn in.

    python3 video.py --source clip.mp4 --out annotated.avi [--model pruned-int8] [--frames N]

A number as source is a camera. Needs onnxruntime, numpy and opencv-python.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bundled import HERE, manifest_of
from classifier import Classifier
from detector import Detector


def annotate(
    source: str | Path | int,
    out: str | Path,
    network: Callable[[np.ndarray], Any],
    frames: int | None = None,
) -> dict[str, Any]:
    """Show every frame of ``source`` to a network and write it, annotated, to the video ``out``.

    Parameters
    ----------
    source
        A video file, or the number of a camera.
    out
        An AVI file (motion JPEG, which every OpenCV can write).
    network
        Takes a uint8 RGB image, gives a class and a score, or a list of boxes.
    frames
        Stop after so many.

    Returns
    -------
    dict with ``frames``, ``seen`` (an answer a frame), ``network_ms`` (median, with
    preparing the image, and finding the boxes), ``decoding_ms`` (of that, from a
    detector's numbers to its boxes) and ``fps`` (of the whole pipeline: reading,
    computing, drawing, writing).

    Raises
    ------
    ValueError
        The source cannot be opened or has no frame, or ``out`` cannot be written.
    """
    import cv2

    capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    writer = None
    times: list[float] = []
    decoding: list[float] = []
    seen: list[Any] = []
    start = time.perf_counter()
    try:
        if not capture.isOpened():
            raise ValueError(f"cannot open {source} as a video or camera")
        while frames is None or len(times) < frames:
            there, frame = capture.read()
            if not there:
                break
            began = time.perf_counter()
            seen.append(network(np.ascontiguousarray(frame[..., ::-1])))
            times.append(time.perf_counter() - began)
            decoding.append(getattr(network, "decoding_ms", 0.0))
            fps = len(times) / (time.perf_counter() - start)
            height, width = frame.shape[:2]
            if writer is None:
                rate = capture.get(cv2.CAP_PROP_FPS) or 25
                code = int.from_bytes(b"MJPG", "little")
                writer = cv2.VideoWriter(str(out), code, rate, (width, height))
                if not writer.isOpened():
                    raise ValueError(f"cannot write the video {out}")
            draw(frame, seen[-1], fps)
            writer.write(frame)
    finally:
        capture.release()
        if writer is not None:
            writer.release()
    if not times:
        raise ValueError(f"{source} has no frame that can be read")
    spent = time.perf_counter() - start
    return {
        "frames": len(times),
        "seen": seen,
        "network_ms": float(np.median(times)) * 1e3,
        "decoding_ms": float(np.median(decoding)),
        "fps": len(times) / spent,
    }


def draw(frame: np.ndarray, answer: Any, fps: float) -> None:
    """Draw a class and its score, or boxes with theirs, and frames a second into a frame."""
    import cv2

    size = max(frame.shape[1] / 640, 0.6)
    if isinstance(answer, list):
        write(frame, f"{len(answer)} found  {fps:.0f} fps", (8 * size, 24 * size), size)
        for name, score, (x1, y1, x2, y2) in answer:
            corners = (round(x1), round(y1)), (round(x2), round(y2))
            for colour, thickness in (((0, 0, 0), 4), ((0, 176, 255), 2)):
                cv2.rectangle(frame, *corners, colour, thickness)
            write(frame, f"{name} {score:.0%}", (x1, max(y1 - 4 * size, 40 * size)), size)
    else:
        name, score = answer
        write(frame, f"{name} {score:.0%}  {fps:.0f} fps", (8 * size, 24 * size), size)


def write(frame: np.ndarray, text: str, where: tuple[float, float], size: float) -> None:
    """White on black, which is read on any frame."""
    import cv2

    place = (round(where[0]), round(where[1]))
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(frame, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * size, colour,
                    thickness, cv2.LINE_AA)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", required=True, help="a video file, or a camera's number")
    parser.add_argument("--out", required=True)
    parser.add_argument("--model", default="pruned-int8")
    parser.add_argument("--bundle", type=Path, default=HERE)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frames", type=int)
    options = parser.parse_args()
    source = int(options.source) if options.source.isdigit() else options.source
    try:
        detects = manifest_of(options.bundle)["detector"] is not None
        kind = Detector if detects else Classifier
        network = kind(options.model, options.bundle, options.threads)
        result = annotate(source, options.out, network, options.frames)
    except ValueError as error:
        sys.exit(f"video.py: {error}")
    del result["seen"]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
