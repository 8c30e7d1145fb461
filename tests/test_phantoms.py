"""The generated fundus phantoms: the same everywhere, labelled truly, and no colour puzzle."""

import hashlib

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmark.data import open_dataset
from benchmark.data.sets import phantom

# (series, index): grade, lesion pixels, and the mean of each 32-pixel block and channel. The means
# are compared with a tolerance, so that float rounding of another platform does not matter.
GOLDEN = {
    (1, 0): (
        2,
        217,
        [
            32.1,
            10.8,
            5.3,
            127.5,
            46.5,
            22.6,
            122.3,
            41.5,
            20.6,
            31.9,
            10.8,
            5.3,
            138.8,
            48.6,
            23.7,
            174.1,
            57.4,
            28.1,
            178.4,
            60.0,
            29.8,
            127.4,
            43.5,
            21.5,
            137.0,
            46.2,
            22.3,
            175.9,
            58.0,
            29.6,
            191.2,
            69.2,
            36.4,
            136.2,
            47.0,
            23.9,
            38.7,
            13.0,
            6.3,
            155.6,
            51.7,
            25.4,
            142.5,
            47.7,
            23.3,
            40.3,
            15.0,
            8.4,
        ],
    ),
    (1, 7): (
        3,
        455,
        [
            23.8,
            15.2,
            4.7,
            102.3,
            64.5,
            19.3,
            86.3,
            52.9,
            13.5,
            24.4,
            15.1,
            4.1,
            94.1,
            60.7,
            19.3,
            136.0,
            88.7,
            32.5,
            118.2,
            72.7,
            20.0,
            91.7,
            57.8,
            16.4,
            94.2,
            61.0,
            19.2,
            123.6,
            80.2,
            26.2,
            110.0,
            67.7,
            18.7,
            74.1,
            46.1,
            12.9,
            23.1,
            14.6,
            4.3,
            89.0,
            56.7,
            16.8,
            93.2,
            59.7,
            17.7,
            24.6,
            15.4,
            4.4,
        ],
    ),
    (2, 3): (
        1,
        0,
        [
            27.5,
            11.1,
            7.6,
            109.8,
            45.3,
            31.4,
            108.3,
            44.3,
            30.6,
            28.6,
            11.7,
            8.5,
            115.3,
            48.9,
            34.5,
            148.2,
            63.7,
            44.7,
            130.6,
            52.9,
            37.9,
            99.2,
            40.5,
            28.6,
            116.2,
            50.0,
            35.5,
            147.6,
            64.2,
            45.3,
            133.9,
            56.5,
            41.1,
            100.0,
            41.3,
            28.7,
            28.5,
            11.9,
            8.1,
            112.2,
            46.6,
            32.5,
            107.8,
            43.6,
            30.2,
            28.9,
            11.8,
            8.3,
        ],
    ),
}


def signature(image):
    """Mean of each 32-pixel block and channel: 48 numbers that float rounding cannot move."""
    return image.reshape(4, 32, 4, 32, 3).mean((1, 3)).ravel()


@pytest.mark.parametrize("key", GOLDEN)
def test_images_are_those_of_this_generator_version(key):
    kind, index = key
    grade, spots, blocks = GOLDEN[key]
    drawn = phantom.render(kind, index)
    assert drawn.grade == grade
    assert np.abs(signature(drawn.image) - blocks).max() < 0.6
    assert abs(int((drawn.mask > 0).sum()) - spots) <= 3


def test_the_official_sizes_and_grades():
    data = open_dataset("phantom_grading")
    assert (len(data), data.splits.count("test")) == (1100, 300)
    assert data.card.ordinal
    assert data.card.synthetic
    shares = np.bincount(data.labels) / len(data)
    assert len(shares) == 5
    assert shares.argmax() == 0
    assert 0.07 < shares.min() < 0.15
    lesions = open_dataset("phantom_lesions")
    assert (len(lesions), lesions.splits.count("test")) == (500, 120)


def test_no_image_comes_twice():
    data = open_dataset("phantom_grading")
    digests = [hashlib.sha256(data.read_image(i).tobytes()).digest() for i in range(60)]
    assert len(set(digests)) == 60


def test_strata_are_what_the_masks_show():
    data = open_dataset("phantom_lesions")
    for i in range(60):
        mask = data.read_mask(i)
        assert mask.shape == (128, 128)
        shown = sum(1 << k for k in (1, 2) if (mask == k).any())
        assert shown == data.labels[i]
    empty = np.mean([not data.read_mask(i).any() for i in range(60)])
    assert 0 < empty < 0.4


def test_grades_differ_in_lesions_and_grade_0_has_none():
    loads = {grade: [] for grade in range(5)}
    for index in range(200):
        loads[phantom.grade_of(1, index)].append(phantom.load_of(1, index))
    means = [np.mean(loads[grade], 0) for grade in range(5)]
    assert means[0].tolist() == [0, 0, 0]
    assert means[1][1] == 0
    assert means[1][0] > 0
    assert means[2][1] > means[1][1]
    assert means[3][1] > means[2][1]


def test_colour_does_not_give_the_grade_away():
    data = open_dataset("phantom_grading")
    rows = np.arange(300)
    images = [data.read_image(i) for i in rows]
    colours = np.array(
        [
            np.concatenate([np.histogram(x[..., c], 16, (0, 256))[0] for c in range(3)])
            for x in images
        ]
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.02, max_iter=300))
    model.fit(colours[:200], data.labels[:200])
    found = balanced_accuracy_score(data.labels[200:300], model.predict(colours[200:]))
    assert found < 0.45
