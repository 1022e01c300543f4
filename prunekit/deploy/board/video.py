"""A video or camera through the network, to a video with the class and frames a second drawn in.

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
from classifier import HERE, Classifier


def annotate(
    source: str | Path | int,
    out: str | Path,
    classifier: Callable[[np.ndarray], tuple[str, float]],
    frames: int | None = None,
) -> dict[str, Any]:
    """Classify every frame of ``source`` and write it, annotated, to the video ``out``.

    Parameters
    ----------
    source
        A video file, or the number of a camera.
    out
        An AVI file (motion JPEG, which every OpenCV can write).
    classifier
        Takes a uint8 RGB image, gives a class and a score.
    frames
        Stop after so many.

    Returns
    -------
    dict with ``frames``, ``classes`` (one a frame), ``classify_ms`` (median)
    and ``fps`` (of the whole pipeline: reading, classifying, drawing, writing).

    Raises
    ------
    ValueError
        The source cannot be opened or has no frame, or ``out`` cannot be written.
    """
    import cv2

    capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    writer = None
    times: list[float] = []
    classes: list[str] = []
    start = time.perf_counter()
    try:
        if not capture.isOpened():
            raise ValueError(f"cannot open {source} as a video or camera")
        while frames is None or len(times) < frames:
            there, frame = capture.read()
            if not there:
                break
            began = time.perf_counter()
            name, score = classifier(np.ascontiguousarray(frame[..., ::-1]))
            times.append(time.perf_counter() - began)
            classes.append(name)
            fps = len(times) / (time.perf_counter() - start)
            height, width = frame.shape[:2]
            if writer is None:
                rate = capture.get(cv2.CAP_PROP_FPS) or 25
                code = int.from_bytes(b"MJPG", "little")
                writer = cv2.VideoWriter(str(out), code, rate, (width, height))
                if not writer.isOpened():
                    raise ValueError(f"cannot write the video {out}")
            text = f"{name} {score:.0%}  {fps:.0f} fps"
            size = max(width / 640, 0.4)
            for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
                where = (int(8 * size), int(24 * size))
                cv2.putText(frame, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * size, colour,
                            thickness, cv2.LINE_AA)  # fmt: skip
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
        "classes": classes,
        "classify_ms": float(np.median(times)) * 1e3,
        "fps": len(times) / spent,
    }


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
        classifier = Classifier(options.model, options.bundle, options.threads)
        result = annotate(source, options.out, classifier, options.frames)
    except ValueError as error:
        sys.exit(f"video.py: {error}")
    del result["classes"]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
