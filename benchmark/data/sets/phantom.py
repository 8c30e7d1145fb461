"""The embedded data sets: a seeded generator of fundus-like phantoms. Synthetic, and marked so.

Five ordinal grades after the idea of the diabetic retinopathy scale: 0 none, 1 few
microaneurysms, 2 more of them and some haemorrhages or exudates, 3 many, 4 also new vessels at the
disc. Illumination, colour, vessels, sharpness and noise vary more than the lesions do, so that no
colour statistic gives the grade away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy  # its parts are imported when they are named: listing data sets stays fast
from PIL import Image, ImageDraw

from benchmark.core.citation import Citation
from benchmark.core.files import digest
from benchmark.data.base import Card, Dataset, Entry, TaskName, datasets

SIDE = 128
GENERATOR_VERSION = 2  # part of the fingerprint: change it with anything that is drawn
GRADES = ("none", "mild", "moderate", "severe", "proliferative")
SHARES = {1: (0.35, 0.2, 0.2, 0.15, 0.1), 2: (0.1, 0.05, 0.3, 0.3, 0.25)}  # by series
LESIONS = ("background", "haemorrhage", "exudate")
# Grade -> range of the numbers of microaneurysms, haemorrhages, exudate clusters.
_LOADS = (
    ((0, 0), (0, 0), (0, 0)),
    ((2, 6), (0, 0), (0, 0)),
    ((3, 9), (1, 3), (0, 2)),
    ((6, 14), (4, 8), (1, 4)),
    ((2, 12), (1, 6), (0, 4)),
)


@dataclass(frozen=True)
class Phantom:
    """One image (SIDE, SIDE, 3) uint8, its lesion mask (SIDE, SIDE) uint8 and its grade."""

    image: np.ndarray
    mask: np.ndarray
    grade: int


def grade_of(kind: int, index: int) -> int:
    """Return the grade of an image: drawn by a generator of its own."""
    return int(np.random.default_rng([kind, index, 1]).choice(len(GRADES), p=SHARES[kind]))


def load_of(kind: int, index: int) -> tuple[int, int, int]:
    """Return how many microaneurysms, haemorrhages and exudate clusters an image has."""
    # generators of their own (1, 2): what an image shows does not depend on how it is drawn
    rng = np.random.default_rng([kind, index, 2])
    dots, blots, clusters = (int(rng.integers(a, b + 1)) for a, b in _LOADS[grade_of(kind, index)])
    return dots, blots, clusters


@lru_cache(maxsize=1)  # image and mask are asked for one after the other
def render(kind: int, index: int) -> Phantom:
    """Return phantom `index` of the series `kind`, read-only; the same on every machine."""
    rng = np.random.default_rng([kind, index, 0])
    grade = grade_of(kind, index)
    disc = np.array([rng.uniform(30, 42), rng.uniform(54, 74)])
    if rng.random() < 0.5:  # left and right eyes
        disc[0] = SIDE - disc[0]
    canvas = _background(rng, disc)
    canvas -= _vessels(rng, disc, new_vessels=grade == 4)[..., None] * _VESSEL
    canvas, mask = _lesions(rng, canvas, disc, load_of(kind, index))
    image = _camera(rng, canvas)
    image.flags.writeable = mask.flags.writeable = False  # whoever asks next gets the same arrays
    return Phantom(image, mask, grade)


_VESSEL = np.array([0.22, 0.26, 0.16])
_ROWS, _COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float64)
_RADIUS = np.hypot(_COLUMNS - SIDE / 2, _ROWS - SIDE / 2)


def _blob(centre: np.ndarray, width: float, stretch: float = 1.0, angle: float = 0.0) -> np.ndarray:
    """Return a Gaussian blob of peak 1, longer by `stretch` along `angle`."""
    x, y = _COLUMNS - centre[0], _ROWS - centre[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.exp(-((along / stretch) ** 2 + across**2) / (2 * width**2))


def _background(rng: np.random.Generator, disc: np.ndarray) -> np.ndarray:
    """Return (SIDE, SIDE, 3): retina colour, pigment texture, bright disc and dark macula."""
    colour = np.array([rng.uniform(0.5, 0.85), rng.uniform(0.22, 0.42), rng.uniform(0.08, 0.22)])
    coarse = scipy.ndimage.zoom(rng.normal(size=(8, 8)), SIDE / 8, order=1)
    shade = 1 + 0.07 * coarse
    macula = np.array([SIDE - disc[0], disc[1] + rng.uniform(-4, 8)])
    shade -= rng.uniform(0.1, 0.35) * _blob(macula, rng.uniform(8, 13))
    bright = _blob(disc, rng.uniform(5, 8), rng.uniform(1, 1.2), np.pi / 2)
    return shade[..., None] * colour + bright[..., None] * [0.3, 0.35, 0.25]


def _vessels(rng: np.random.Generator, disc: np.ndarray, *, new_vessels: bool) -> np.ndarray:
    """Return (SIDE, SIDE) in [0, 1]: arcades that branch from the disc, tufts of new vessels."""
    # drawn at twice the size, so that thin vessels get smooth edges
    sheet = Image.new("L", (SIDE * 2, SIDE * 2))
    pen = ImageDraw.Draw(sheet)
    side = np.sign(SIDE / 2 - disc[0])
    for start in (0.35, 0.9, -0.35, -0.9, 2.4, -2.4):
        heading = (start if side > 0 else np.pi - start) + rng.normal(0, 0.15)
        bend = -np.sign(np.sin(heading)) * np.cos(heading) * rng.uniform(0.02, 0.05)
        _branch(rng, pen, disc, (heading, bend, rng.uniform(3, 5)))
    if new_vessels:
        for _ in range(rng.integers(6, 12)):
            _branch(rng, pen, disc + rng.normal(0, 5, 2), (rng.uniform(0, 7), 0.5, 1.2), length=5)
    small = np.asarray(sheet.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64) / 255
    return scipy.ndimage.gaussian_filter(small, 0.5)


def _branch(
    rng: np.random.Generator,
    pen: ImageDraw.ImageDraw,
    point: np.ndarray,
    course: tuple[float, float, float],
    length: int = 26,
) -> None:
    """Draw one vessel of (heading, bend, width) in steps of 4 pixels; it may fork and thins out."""
    heading, bend, width = course
    for step in range(length):
        after = point + 4 * np.array([np.cos(heading), np.sin(heading)])
        line = [*(point * 2), *(after * 2)]
        pen.line(line, fill=int(rng.integers(150, 255)), width=max(1, round(width)))
        heading += bend + rng.normal(0, 0.12)
        point, width = after, width * 0.95
        if step > 3 and width > 1.6 and rng.random() < 0.12:
            turn = rng.choice([-0.6, 0.6])
            _branch(rng, pen, point, (heading + turn, bend, width * 0.7), length - step)


def _lesions(
    rng: np.random.Generator, canvas: np.ndarray, disc: np.ndarray, load: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the canvas with its lesions, and their mask."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    dots, blots, clusters = load
    for _ in range(dots):
        dot = _blob(_place(rng, disc), rng.uniform(1.0, 1.5))
        canvas = canvas - dot[..., None] * rng.uniform(0.5, 1) * [0.2, 0.2, 0.1]
    for _ in range(blots):
        size, stretch, angle = rng.uniform(2.2, 4.2), rng.uniform(1, 1.8), rng.uniform(0, np.pi)
        blot = np.minimum(1, 1.6 * _blob(_place(rng, disc), size, stretch, angle))
        canvas = canvas - blot[..., None] * rng.uniform(0.6, 1) * [0.28, 0.2, 0.1]
        mask[blot > 0.6] = 1
    for _ in range(clusters):
        centre = _place(rng, disc)
        for _ in range(rng.integers(3, 8)):
            spot = _blob(centre + rng.normal(0, 4, 2), rng.uniform(1.0, 2.0))
            canvas = canvas + spot[..., None] * rng.uniform(0.6, 1) * [0.25, 0.3, 0.12]
            mask[spot > 0.5] = 2
    # beyond the field of view there is nothing to see, and nothing to segment
    mask[_RADIUS > SIDE * 0.47] = 0
    return canvas, mask


def _place(rng: np.random.Generator, disc: np.ndarray) -> np.ndarray:
    """Return a point in the field of view, off the disc."""
    while True:
        point = rng.uniform(14, SIDE - 14, 2)
        inside = np.hypot(*(point - SIDE / 2)) < SIDE * 0.42
        if inside and np.hypot(*(point - disc)) > 14:
            return point


def _camera(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Return the photograph: uneven light, round field of view, blur, gain, reflexes and noise."""
    centre = rng.uniform(0.3, 0.7, 2) * SIDE
    light = 0.75 + 0.35 * _blob(centre, rng.uniform(35, 70))
    canvas = canvas * light[..., None] * rng.uniform(0.75, 1.2)
    for _ in range(rng.integers(0, 3)):  # reflexes: bright like exudates, but wide and faint
        canvas = canvas + _blob(rng.uniform(20, 108, 2), rng.uniform(4, 10))[..., None] * 0.12
    canvas = scipy.ndimage.gaussian_filter(canvas, (*[rng.uniform(0.2, 1.0)] * 2, 0))
    canvas = canvas + rng.normal(0, rng.uniform(0.01, 0.04), canvas.shape)
    edge = 1 / (1 + np.exp((_RADIUS - SIDE * 0.47) / 1.2))
    return (canvas.clip(0, 1) * edge[..., None] * 255).round().astype(np.uint8)


def _open(card: Card, kind: int, count: int, num_test: int) -> Dataset:
    """Return the data set of a series; its last `num_test` images are the official test set."""
    text = f"{card.name} {GENERATOR_VERSION} {kind} {count} {num_test}"
    ids = tuple(f"phantom{i:04d}" for i in range(count))
    dense = card.task == "segmentation"

    def label_of(kind: int, index: int) -> int:
        if not dense:
            return grade_of(kind, index)
        # the stratum of the mask, without drawing it: opening takes no time
        _, blots, clusters = load_of(kind, index)
        return (blots > 0) << 1 | (clusters > 0) << 2

    return Dataset(
        card=card,
        ids=ids,
        labels=np.array([label_of(kind, i) for i in range(count)], np.int64),
        groups=ids,
        splits=("train",) * (count - num_test) + ("test",) * num_test,
        fingerprint=digest(text),
        read_image=lambda index: render(kind, index).image,
        read_mask=(lambda index: render(kind, index).mask) if dense else None,
    )


GENERATOR = Citation(
    ("The authors of this benchmark",), "A seeded generator of fundus-like phantoms", 2026
)


def _card(name: str, task: TaskName, classes: tuple[str, ...], *, ordinal: bool) -> Card:
    return Card(
        name=name,
        task=task,
        classes=classes,
        modality="synthetic fundus photographs",
        licence="Apache-2.0 (generated here)",
        citations=(GENERATOR,),
        url="benchmark/data/sets/phantom.py",
        ordinal=ordinal,
        synthetic=True,
        grouping="single",
    )


_GRADING = _card("phantom_grading", "classification", GRADES, ordinal=True)
_LESION = _card("phantom_lesions", "segmentation", LESIONS, ordinal=False)
datasets.add("phantom_grading")(Entry(_GRADING, lambda folder: _open(_GRADING, 1, 1100, 300)))
datasets.add("phantom_lesions")(Entry(_LESION, lambda folder: _open(_LESION, 2, 500, 120)))
