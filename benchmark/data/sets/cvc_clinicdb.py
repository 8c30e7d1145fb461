"""`cvc_clinicdb`: polyps in colonoscopy video frames; frames of one sequence form a group."""

from __future__ import annotations

import bisect
from dataclasses import replace

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.registry import InputError
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import FOREGROUND, Row

CARD = Card(
    name="cvc_clinicdb",
    task="segmentation",
    classes=("background", "polyp"),
    modality="colonoscopy video frames",
    licence="research use",
    citations=(
        Citation(
            ("Bernal, Jorge", "Sánchez, F. Javier", "Fernández-Esparrach, Gloria", OTHERS),
            "WM-DOVA maps for accurate polyp highlighting in colonoscopy: Validation vs. saliency "
            "maps from physicians",
            2015,
            "Computerized Medical Imaging and Graphics 43:99-111",
            "article",
            doi="10.1016/j.compmedimag.2015.02.007",
        ),
    ),
    url="https://polyp.grand-challenge.org/CVCClinicDB/",
    display="CVC-ClinicDB",
    grouping="given",
    group_key="video sequence",
    counts={"images": 612},
    get="CVC-ClinicDB.rar (Original/*.tif, 'Ground Truth'/*.tif) or its PNG copy with metadata.csv",
)


# First frame of each of the 29 sequences, from a third party's transcription of the release notes;
# `metadata.csv` of the PNG copy says the same.
STARTS = (
    *(1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206, 228, 253, 278, 298, 318, 343, 364, 384),
    *(409, 429, 448, 467, 479, 504, 529, 547, 572, 592),
)
TRUTH = ("ground truth", "ground_truth", "groundtruth", "masks", "mask")


def rows(download: layout.Download) -> list[Row]:
    """Return all frames, from the TIFF release or a PNG copy."""
    # where both are there, the PNG copy counts: metadata.csv speaks of its files
    folder = download.folder(
        *("png/original/*.png", "original/*.tif", "original/*.tiff", "original/*.png"),
        *("images/*.png", "images/*.tif", "image/*.png"),
    )
    masks = download.sibling(folder, *TRUTH)
    frames = download.by_stem([folder], *layout.PICTURES)
    truth = download.by_stem([masks], *layout.PICTURES)
    sequences = _sequences(download, list(frames))
    return [
        replace(row, group=sequences.get(row.id, "")) for row in layout.paired(frames, truth, CARD)
    ]


def _sequences(download: layout.Download, frames: list[str]) -> dict[str, str]:
    """Return the sequence of each frame; neighbouring frames are near-copies.

    `metadata.csv` of the PNG copy decides where it is there; it is held against the table.
    """
    numbered = {name: sequence_of(name) for name in frames}
    path = download.find("metadata.csv")
    if path is not None:
        lines = layout.table_rows(path, ("frame_id", "sequence_id"))
        given = {line["frame_id"]: f"sequence{line['sequence_id']}" for line in lines}
        missing = [name for name in frames if name not in given]
        if missing:
            raise InputError(f"{str(path)!r} has no row for the frame {missing[0]!r}")
        # the same partition under other names is the same: one to one is all that is asked
        pairs = {(given[name], numbered[name]) for name in frames if numbered[name]}
        if len(pairs) != len({a for a, _ in pairs}) or len(pairs) != len({b for _, b in pairs}):
            download.notes.append("metadata.csv and the table of sequences differ: it was taken")
        return given
    if not all(numbered.values()):  # a renamed copy: no frame can be placed for sure
        download.card = layout.without_groups(CARD, "its frames are not numbered 1 to 612")
        return {}
    download.card = replace(
        CARD, grouping="inferred", group_source="29 sequences by frame number, without metadata.csv"
    )
    return numbered


def sequence_of(name: str) -> str:
    """Return the sequence of a frame by its number, "" for another name."""
    number = int(name) if name.isascii() and name.isdigit() else 0
    if not 1 <= number <= 612:
        return ""
    return f"sequence{bisect.bisect_right(STARTS, number)}"


layout.add(CARD, rows, FOREGROUND)
