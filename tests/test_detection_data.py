"""Pictures with boxes: the layout of PASCAL VOC, batches, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pictures import solid
from PIL import Image
from streets import annotation, box, listed
from torchvision.datasets import VOCDetection

from prunekit.detection import BoxLoader, BoxSet, draw_people, load_voc, tiny_ssdlite

SIZE = (40, 20)  # width and height
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def annotated(folder: Path, number: str, *boxes: str, size: tuple[int, int] = SIZE) -> Path:
    return solid(annotation(folder, number, *boxes, size=size), 100, SIZE)


@pytest.fixture
def people(tmp_path) -> Path:
    folder = tmp_path / "people"
    annotated(folder, "1", box(1, 1, 40, 20), box(11, 6, 20, 15, name="dog"))
    annotated(folder, "2", box(21, 11, 30, 20, difficult="<difficult>1</difficult>"))
    annotated(folder, "3", box(5, 5, 9, 9, name="dog"))
    listed(folder, "train", "3", "1")
    listed(folder, "test", "2")
    return folder


def test_boxes_are_shares_of_the_picture_and_pixels_are_counted_from_one(people):
    pictures = load_voc(people, "train", size=16)
    assert pictures.images.shape == (2, 3, 16, 16)
    assert (pictures.images.float() - 100).abs().max() <= 1
    # The first listed has no person; that of the second fills the picture.
    assert pictures.targets.tolist() == [[[-1] * 6], [[0, 0, 1, 1, 1, 0]]]
    (((*corners, label, difficult),),) = load_voc(people, "test").targets.tolist()
    assert corners == pytest.approx([20 / 40, 10 / 20, 30 / 40, 20 / 20])
    assert (label, difficult) == (1, 1)
    ((first, *_),) = load_voc(people, "test", first_pixel=0).targets.tolist()
    assert first[:4] == pytest.approx([21 / 40, 11 / 20, 30 / 40, 20 / 20])


def test_classes_are_numbered_in_the_order_asked_for(people):
    targets = load_voc(people, "train", classes=["dog", "person"], size=8).targets
    assert targets[:, :, 4].tolist() == [[1, -1], [2, 1]]
    assert targets[0, 0, :4].tolist() == pytest.approx([4 / 40, 4 / 20, 9 / 40, 9 / 20])


def test_a_bare_name_is_looked_for_in_the_data_folder(people, monkeypatch):
    monkeypatch.setenv("PRUNEKIT_DATA", str(people.parent))
    assert len(load_voc("people", "train", size=8)) == 2
    with pytest.raises(FileNotFoundError, match=r"no data set 'cars'.*PRUNEKIT_DATA"):
        load_voc("cars")
    with pytest.raises(FileNotFoundError, match="no data set ''"):
        load_voc("")
    (people.parent / "cars").write_text("packed")
    with pytest.raises(NotADirectoryError, match="cars is a file: give a folder"):
        load_voc("cars")


def test_no_object_of_the_classes_in_any_picture(people):
    assert load_voc(people, "train", classes="cat", size=8).targets.shape == (2, 0, 6)


# One of PASCAL VOC 2007 in full: a person is in parts, each with a box of its own.
VOC_2007 = """<annotation><folder>VOC2007</folder><filename>000017.jpg</filename>
<source><database>The VOC2007 Database</database><annotation>PASCAL VOC2007</annotation>
<image>flickr</image><flickrid>228217974</flickrid></source>
<owner><flickrid>x</flickrid><name>person</name></owner>
<size><width>40</width><height>20</height><depth>3</depth></size><segmented>0</segmented>
<object><name>person</name><pose>Left</pose><truncated>0</truncated><difficult>0</difficult>
<bndbox><xmin>11</xmin><ymin>3</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>
<part><name>head</name><bndbox><xmin>14</xmin><ymin>3</ymin><xmax>17</xmax><ymax>8</ymax></bndbox>
</part></object>
<object><name>horse</name><pose>Left</pose><truncated>1</truncated><difficult>1</difficult>
<bndbox><xmin>1</xmin><ymin>5</ymin><xmax>40</xmax><ymax>20</ymax></bndbox></object>
</annotation>"""


@pytest.mark.parametrize("part", ["trainval", "test"])
def test_voc_2007_is_read_where_torchvision_lays_it_out(tmp_path, part):
    """torchvision reads the same folder, and finds the same classes and boxes."""
    picture = annotated(tmp_path, "000017")
    (picture.parents[1] / "Annotations" / "000017.xml").write_text(VOC_2007)
    listed(tmp_path, part, "000017")
    ((_, theirs),) = VOCDetection(tmp_path, year="2007", image_set=part)
    found = theirs["annotation"]["object"]
    assert [each["name"] for each in found] == ["person", "horse"]
    corners = [[int(each["bndbox"][key]) for key in CORNERS] for each in found]
    ours = load_voc(tmp_path, part, classes=[each["name"] for each in found], size=8).targets[0]
    in_pixels = ours[:, :4] * torch.tensor([40, 20, 40, 20]) + torch.tensor([1, 1, 0, 0])
    assert in_pixels.round().tolist() == corners
    assert ours[:, 4:].tolist() == [[1, 0], [2, 1]]
    (horse,) = load_voc(tmp_path, part, classes="horse", size=8).targets
    assert horse[:, 4:].tolist() == [[1, 1]]


BROKEN = {
    "no list": (lambda f: None, {"part": "val"}, FileNotFoundError, r"no list .*val\.txt"),
    "empty list": (lambda f: listed(f, "val"), {"part": "val"}, ValueError, r"val\.txt lists no"),
    "no picture": (
        lambda f: (f / "VOCdevkit/VOC2007/JPEGImages/1.jpg").unlink(),
        *({}, FileNotFoundError, r"1\.jpg is missing"),
    ),
    "no annotation": (
        lambda f: (f / "VOCdevkit/VOC2007/Annotations/1.xml").unlink(),
        *({}, FileNotFoundError, r"1\.xml is missing"),
    ),
    "half a picture": (
        lambda f: (f / "VOCdevkit/VOC2007/JPEGImages/1.jpg").write_bytes(b"\xff\xd8\xff\xe0"),
        *({}, ValueError, r"1\.jpg cannot be decoded"),
    ),
    "half an annotation": (
        lambda f: (f / "VOCdevkit/VOC2007/Annotations/1.xml").write_text("<annotation><si"),
        *({}, ValueError, r"1\.xml is damaged"),
    ),
    "no size": (
        lambda f: (f / "VOCdevkit/VOC2007/Annotations/1.xml").write_text("<annotation/>"),
        *({}, ValueError, r"1\.xml is damaged"),
    ),
    "no box": (
        lambda f: annotated(f, "1", "<object><name>person</name></object>"),
        *({}, ValueError, r"1\.xml is damaged"),
    ),
    "words in a box": (
        lambda f: annotated(f, "1", box("left", 1, 2, 2)),
        *({}, ValueError, r"1\.xml is damaged.*left"),
    ),
    "a box turned around": (
        lambda f: annotated(f, "1", box(9, 9, 3, 12)),
        *({}, ValueError, r"1\.xml .*box of a person lies outside the picture or is turned"),
    ),
    "a box outside": (
        lambda f: annotated(f, "1", box(30, 9, 41, 12)),
        *({}, ValueError, r"1\.xml .*outside the picture"),
    ),
    "a box that is NaN": (
        lambda f: annotated(f, "1", box("nan", 9, 41, 12)),
        *({}, ValueError, r"1\.xml .*outside the picture"),
    ),
    "an exchanged picture": (
        lambda f: annotated(f, "1", box(1, 1, 9, 9), size=(20, 40)),
        *({}, ValueError, r"1\.xml is of a picture of 20x40 pixels, and the picture has 40x20"),
    ),
    "no side": (lambda f: None, {"size": 0}, ValueError, "size must be at least 1"),
    "a third way to count": (lambda f: None, {"first_pixel": 2}, ValueError, "first_pixel must be"),
}


@pytest.mark.parametrize(("damage", "given", "error", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_damaged_is_named(people, damage, given, error, message):
    damage(people)
    with pytest.raises(error, match=message):
        load_voc(people, **{"part": "train", **given})


def test_pictures_turned_by_the_camera_must_agree_with_their_boxes(people):
    path = people / "VOCdevkit/VOC2007/JPEGImages/1.jpg"
    exif = Image.Exif()
    exif[0x112] = 6  # to be shown turned by a quarter
    Image.new("RGB", SIZE).save(path, exif=exif)
    with pytest.raises(ValueError, match="the picture has 20x40"):
        load_voc(people, "train")


def numbered(count: int) -> BoxSet:
    """Picture i is of shade i."""
    shades = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    targets = torch.zeros(count, 1, 6)
    targets[:, 0, 0] = torch.arange(count)  # no box: class 0 stands for none
    return BoxSet(shades, targets)


def test_batches_keep_pictures_and_boxes_together():
    torch.manual_seed(0)
    seen = []
    for x, targets in BoxLoader(numbered(10), 4, shuffle=True):
        shades = ((x[:, 0, 0, 0] + 1) * 127.5).round()
        assert shades.tolist() == targets[:, 0, 0].tolist()
        seen += shades.tolist()
    assert sorted(seen) == list(range(10)) != seen
    in_order = [x for x, _ in BoxLoader(numbered(10), 4)]
    assert [len(x) for x in in_order] == [4, 4, 2]
    assert in_order[0][0].unique().tolist() == [-1]


def test_mean_and_deviation_are_of_samples_from_0_to_1():
    ((x, _),) = BoxLoader(numbered(256), 256, mean=(0, 0.5, 1), std=(1, 0.25, 0.5))
    assert x[0, :, 0, 0].tolist() == pytest.approx([0, -2, -2])
    assert x[255, :, 0, 0].tolist() == pytest.approx([1, 2, 0])


def test_augmentation_moves_boxes_with_what_they_show():
    """A bright object on a dark ground stays of one shade within its box, wherever that lands."""
    torch.manual_seed(0)
    images = torch.full((40, 3, 80, 100), 20, dtype=torch.uint8)
    images[:, :, 20:60, 30:50] = 200
    targets = torch.tensor([[[0.3, 0.25, 0.5, 0.75, 1, 1], [-1] * 6]]).repeat(40, 1, 1)
    ((x, moved),) = BoxLoader(BoxSet(images, targets), 40, augment=True)
    assert (x.shape, moved.shape) == ((40, 3, 80, 100), targets.shape)
    there = moved[:, 0, 4] > 0
    assert there.sum() >= 20
    assert (moved[there, 0, 4:] == 1).all()
    assert (moved[~there] == -1).all() and (moved[:, 1] == -1).all()
    sides = []
    for picture, row in zip(x[there], moved[there, 0], strict=True):
        x1, y1, x2, y2 = (row[:4] * torch.tensor([100, 80, 100, 80])).round().int().tolist()
        inside = picture[:, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].flatten(1)
        assert not inside.shape[1] or inside.std(dim=1).max() < 0.05
        sides.append((x2 - x1, y2 - y1))
    assert min(width for width, _ in sides) < 15 and max(width for width, _ in sides) > 25


def test_augmentation_is_fixed_by_the_seed():
    loader = BoxLoader(numbered(6), 3, shuffle=True, augment=True)
    epochs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        epochs.append(torch.cat([x for x, _ in loader]))
    assert torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], epochs[2])


def test_fingerprints_tell_pictures_boxes_and_settings_apart():
    pictures = numbered(6)
    moved = BoxSet(pictures.images, pictures.targets + 0.1)
    loaders = [
        BoxLoader(pictures),
        BoxLoader(pictures, 3),
        BoxLoader(pictures, shuffle=True),
        BoxLoader(pictures, augment=True),
        BoxLoader(pictures, mean=(0, 0, 0)),
        BoxLoader(moved),
        BoxLoader(pictures[:5]),
    ]
    assert len({loader.fingerprint() for loader in loaders}) == len(loaders)
    assert BoxLoader(numbered(6)).fingerprint() == loaders[0].fingerprint()


def test_boxes_of_drawn_people_end_where_they_do():
    """Whoever was drawn last is whole: dark clothes below a light head, and a wall around."""
    drawn = draw_people(20, size=128)
    count = (drawn.targets[..., 4] > 0).sum(1)
    assert set(count.tolist()) == {1, 2, 3}
    boxes = drawn.targets[..., :4][drawn.targets[..., 4] > 0]
    assert boxes.min() >= 0 and boxes.max() <= 1
    for image, rows, last in zip(drawn.images.float() / 255, drawn.targets, count - 1, strict=True):
        x1, y1, x2, y2 = (128 * rows[last, :4]).round().int().tolist()
        middle = (x1 + x2) // 2
        assert image[:, (y1 + y2) // 2, x1 + 2 : x2 - 2].mean() < 0.4
        assert image[:, y1 + 1 : y1 + 3, middle].mean() > 0.6
        below = image[:, (y1 + y2) // 2 : y2 - 1, x1 + 2 : x2 - 2]
        assert below.mean((1, 2)).sub(image[:, y2 - 2, middle]).abs().max() < 0.15


def test_drawn_people_are_fixed_by_the_seed_and_suit_the_tiny_detector():
    one, same, other = (draw_people(2, size=64, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.images, same.images) and torch.equal(one.targets, same.targets)
    assert not torch.equal(one.images, other.images)
    ((x, _),) = BoxLoader(one)
    model = tiny_ssdlite(3, size=64)
    scores, offsets = model(x)
    assert (model.maps, scores.shape) == ((8, 4, 2), (2, len(model.anchors), 3))
    assert offsets.shape == (2, len(model.anchors), 4)
    with pytest.raises(ValueError, match="size must be at least 32"):
        draw_people(2, size=16)


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 6), "must be uint8"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, 1, 6), "must be uint8"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3, 1, 6), "2 images cannot have"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 1, 5), "x1, y1, x2, y2, class"),
    ],
)
def test_sets_of_another_kind_are_refused(images, targets, message):
    with pytest.raises(ValueError, match=message):
        BoxSet(images, targets)


def test_a_loader_needs_pictures():
    with pytest.raises(TypeError, match="serves a BoxSet, not list"):
        BoxLoader([])
    with pytest.raises(ValueError, match="nothing to serve"):
        BoxLoader(numbered(3)[:0])
    with pytest.raises(ValueError, match="batch_size"):
        BoxLoader(numbered(3), 0)
