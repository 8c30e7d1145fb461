"""A trained cell in other people's formats: a timm checkpoint, a Hugging Face PEFT adapter, a file.

Legend: r rank, R sum of the ranks of a layer's parts.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from timm.models import save_for_hf
from torch import Tensor, nn

import methods
from benchmark import backbones
from benchmark.backbones.networks import build
from benchmark.core.files import CELL, MADE, filled, write_json
from benchmark.core.registry import InputError, unknown
from benchmark.trained import Trained
from benchmark.training.artifacts import write_tensors
from benchmark.training.head import Classifier, Segmenter
from benchmark.training.pixels import parsed
from benchmark.training.run import trained_state
from methods.lora import Lora, LowRank

Export = Callable[[Trained, Path], None]


def to_safetensors(trained: Trained, out: Path) -> None:
    """Write the trained tensors to `model.safetensors`, what they belong to in its metadata."""
    described = {"cell": trained.record.cell.values(), "classes": trained.classes}
    metadata = {name: json.dumps(value) for name, value in described.items()}
    state = trained_state(trained.model)
    write_tensors(out / "model.safetensors", state, {**metadata, "format": "pt"})


def to_timm(trained: Trained, out: Path) -> None:
    """Write a merged checkpoint: `timm.create_model("local-dir:OUT", pretrained=True)`.

    Classification: with the classifier. Segmentation: the merged backbone, and the pyramid head
    in `head.safetensors`.

    Raises:
        InputError: where the method cannot be folded into the backbone's own weights.
    """
    if type(trained.model) not in (Classifier, Segmenter):
        raise InputError(
            f"{trained.record.cell.method} with output {trained.record.cell.output!r} has no "
            "linear classifier that timm could hold; export it as safetensors"
        )
    body = _merged(trained)
    cell, backbone = trained.record.cell, backbones.resolve(trained.record.cell.backbone)
    classify = trained.task != "segmentation"
    num_classes = len(trained.classes) if classify else 0
    plain = build(backbone, cell.image_size, num_classes=num_classes).eval()
    state = dict(body.state_dict())
    if classify:
        classifier = str(plain.pretrained_cfg["classifier"])  # type: ignore[index]
        state |= {f"{classifier}.{n}": t for n, t in trained.model.head.state_dict().items()}
    else:
        _write_head(trained, out)
    _load(plain, state, cell.method)
    mean, std = parsed(cell.normalize)
    size = (3, cell.image_size, cell.image_size)
    pretrained = {
        "mean": mean,
        "std": std,
        "input_size": size,
        "crop_pct": 1.0,
        "crop_mode": "squash",
    }
    names = {"label_names": trained.classes} if classify else {}
    save_for_hf(plain, str(out), {**names, "pretrained_cfg": pretrained}, safe_serialization=True)


def _write_head(trained: Trained, out: Path) -> None:
    head = trained.model.head.state_dict()
    write_tensors(out / "head.safetensors", head, {"format": "pt"})


def _merged(trained: Trained) -> nn.Module:
    method = methods.of_cell(trained.record.cell)
    body = copy.deepcopy(trained.model.body)
    assert isinstance(body, nn.Module)
    if not method.is_mergeable(body):
        raise InputError(
            f"{method.name} adds computation that no plain {trained.record.cell.backbone} has; "
            "export it as safetensors"
        )
    return methods.merge(method, body).cpu()


def _load(plain: nn.Module, state: dict[str, Tensor], method: str) -> None:
    try:
        plain.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{method} does not fit the plain timm model ({reason}); export it as safetensors"
        ) from None


def to_peft(trained: Trained, out: Path) -> None:
    """Write a Hugging Face PEFT adapter of the backbone, and the head in `head.safetensors`.

    `PeftModel.from_pretrained(timm.create_model(NAME, num_classes=0), OUT)` computes the same
    features. Parts of a fused layer become one branch of rank R.

    Raises:
        InputError: where the method is not LoRA.
    """
    method = methods.of_cell(trained.record.cell)
    if type(method) is not Lora:
        raise InputError(f"only lora has a PEFT form here, not {method.name}; use another format")
    tensors, ranks = {}, {}
    for name, layer in trained.model.body.named_modules():
        if not isinstance(layer, LowRank):
            continue
        down, up = layer.dense_factors()
        ranks[name] = len(down)
        for letter, factor in (("A", down), ("B", up)):
            tensors[f"base_model.model.{name}.lora_{letter}.weight"] = factor
    write_tensors(out / "adapter_model.safetensors", tensors, {"format": "pt"})
    _write_head(trained, out)
    write_json(out / "adapter_config.json", _peft_config(method, ranks))


def _peft_config(method: Lora, ranks: dict[str, int]) -> dict[str, Any]:
    """Return the configuration under which PEFT scales by 1: the factors hold the scaling."""
    return {
        "peft_type": "LORA",
        "r": method.rank,
        "lora_alpha": method.rank,
        "rank_pattern": ranks,
        "alpha_pattern": ranks,
        "target_modules": sorted(ranks),
        "lora_dropout": method.dropout,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }


FORMATS: dict[str, Export] = {
    "timm": to_timm,
    "peft": to_peft,
    "safetensors": to_safetensors,
}


def export(trained: Trained, name: str, out: Path) -> list[Path]:
    """Write `trained` in a format into the folder `out` and return the files.

    The folder appears whole or not at all.

    Raises:
        InputError: an unknown format, a method that the format cannot hold, or an `out` that
            exists.
    """
    if name not in FORMATS:
        raise unknown("export format", name, FORMATS)
    if out.exists():
        raise InputError(f"{str(out)!r} exists; choose another folder with --out")
    with filled(out) as folder:
        FORMATS[name](trained, folder)
        write_json(folder / CELL, asdict(trained.record.cell))
    return sorted(path for path in out.iterdir() if path.name != MADE)
