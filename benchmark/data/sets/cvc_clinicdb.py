"""`cvc_clinicdb`: polyps in colonoscopy video frames; frames of one sequence form a group."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import OTHERS, Citation
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
    group_key="video sequence, where metadata.csv is present",
    counts={"images": 612},
    get="CVC-ClinicDB.rar (Original/*.tif, 'Ground Truth'/*.tif) or its PNG copy with metadata.csv",
)


def rows(root: Path) -> list[Row]:
    """Return all frames, from the TIFF release or the PNG copy."""
    base = layout.one_of(root, "CVC-ClinicDB", "PNG", ".")
    sequences = _sequences(root)
    return [
        layout.existing(
            Row(
                image.stem,
                image,
                mask=base / "Ground Truth" / image.name,
                group=sequences.get(image.stem, ""),
            )
        )
        for image in layout.files(base / "Original", "*.tif", "*.png")
    ]


def _sequences(root: Path) -> dict[str, str]:
    """Return the sequence of each frame; neighbouring frames are near-copies."""
    path = root / "metadata.csv"
    if not path.exists():
        return {}
    lines = layout.table_rows(path, ("frame_id", "sequence_id"))
    return {line["frame_id"]: f"sequence{line['sequence_id']}" for line in lines}


layout.add(CARD, rows, FOREGROUND)
