"""Folders in the layout of PASCAL VOC, with pictures of people drawn by the computer."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from prunekit.detection import draw_people

BOX = """<object><name>{name}</name>{difficult}<bndbox><xmin>{0}</xmin><ymin>{1}</ymin>
<xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""
SIZED = "<annotation><size><width>{0}</width><height>{1}</height></size>{boxes}</annotation>"


def box(*corners: float, name: str = "person", difficult: str = "") -> str:
    return BOX.format(*corners, name=name, difficult=difficult)


def annotation(folder: Path, number: str, *boxes: str, size: tuple[int, int]) -> Path:
    """Write what is seen in a picture; where that belongs."""
    devkit = folder / "VOCdevkit" / "VOC2007"
    for name in ("Annotations", "JPEGImages"):
        (devkit / name).mkdir(parents=True, exist_ok=True)
    text = SIZED.format(*size, boxes="".join(boxes))
    (devkit / "Annotations" / f"{number}.xml").write_text(text)
    return devkit / "JPEGImages" / f"{number}.jpg"


def listed(folder: Path, part: str, *numbers: str) -> None:
    lists = folder / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / f"{part}.txt").write_text("\n".join(numbers) + "\n")


def streets(folder: Path, **counts: int) -> Path:
    """So many pictures a part, each with a box around everybody but for the first of the part."""
    size = 96
    for seed, (part, count) in enumerate(counts.items()):
        drawn = draw_people(count, size=size, seed=seed)
        numbers = [f"{part}{index:03}" for index in range(count)]
        for number, image, rows in zip(numbers, drawn.images, drawn.targets, strict=True):
            corners = (rows[rows[:, 4] > 0, :4] * size).round().int().tolist()
            boxes = [box(x1 + 1, y1 + 1, x2, y2) for x1, y1, x2, y2 in corners]
            known = boxes if number != numbers[0] else []
            path = annotation(folder, number, *known, size=(size, size))
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path, quality=95)
        listed(folder, part, *numbers)
    return folder
