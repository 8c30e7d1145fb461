"""Spec strings, the `Cell` (everything a number depends on), its key, seeds, and the plan on disk.

Imports neither torch nor pandas: `--help` and `status` answer at once.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmark.registry import InputError

_SPEC = re.compile(r"(?P<name>[^()\s]+?)\s*(?:\((?P<arguments>.*)\))?", re.DOTALL)


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """Return ("lora", {"rank": 8}) for "lora(rank=8)"; bare words are strings.

    Raises:
        InputError: when the text is not `name` or `name(key=literal, ...)`.
    """
    match = _SPEC.fullmatch(text.strip())
    if not match:
        raise InputError(f"{text!r} is not a spec; write a name or name(key=value, ...)")
    try:
        call = ast.parse(f"_({match['arguments'] or ''})", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args or any(keyword.arg is None for keyword in call.keywords):
            raise InputError(f"{text!r} has an argument without a name; write key=value")
        return match["name"], {str(k.arg): _literal(k.value) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read the arguments of {text!r}; write key=value, ...") from None


def _literal(node: ast.expr) -> Any:
    """Return the literal of `node`; a bare word or an a+b of bare words is a string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return f"{_literal(node.left)}+{_literal(node.right)}"
    return ast.literal_eval(node)


def format_spec(name: str, arguments: Mapping[str, Any]) -> str:
    """Return the spec string that `parse_spec` reads back to the same values."""
    if not arguments:
        return name
    return f"{name}({','.join(f'{key}={_word(value)}' for key, value in arguments.items())})"


def _word(value: Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w*(\+[A-Za-z_]\w*)*", value)
    reserved = value in ("True", "False", "None")
    if plain and not reserved:
        return value
    text = repr(value)
    return text if isinstance(value, str) else text.replace(" ", "")


def split_list(text: str) -> list[str]:
    """Return the items of a comma list; commas inside brackets do not split."""
    items, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            items.append(text[start:position].strip())
            start = position + 1
    items.append(text[start:].strip())
    if depth or not all(items):
        raise InputError(f"{text!r} is not a comma list; an item is empty or a bracket is open")
    return items


_SORTED = json.JSONEncoder(sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training run: everything that can change its number, and nothing that cannot.

    `fraction` is a share of the development labels (training and validation together). With
    `shots` > 0 it is 1 and ignored: so many images of each class train, and as many validate.
    `warmup` is a share of `steps`; `evaluations` is how many times the validation set is scored,
    evenly spaced, the last one at the last step. `head_lr` is the peak rate of the fresh head, 0
    where it is `lr`. With `views` > 0 each image has so many fixed augmented views, of which every
    step draws one: another protocol than fresh augmentation, but one whose features can be kept.
    """

    dataset: str
    data: str
    backbone: str
    weights: str
    normalize: str
    method: str
    fraction: float = 1.0
    split_seed: int = 0
    seed: int = 0
    lr: float = 1e-3
    weight_decay: float = 1e-4
    steps: int = 100
    batch_size: int = 16
    warmup: float = 0.1
    clip: float = 1.0
    evaluations: int = 5
    image_size: int = 56
    augment: str = "default"
    precision: str = "fp32"
    head_lr: float = field(default=0.0, metadata={"later": True})
    shots: int = field(default=0, metadata={"later": True})
    balance: str = field(default="none", metadata={"later": True})
    output: str = field(default="softmax", metadata={"later": True})
    views: int = field(default=0, metadata={"later": True})

    @functools.cached_property
    def key(self) -> str:
        """16 hex digits over the sorted JSON of all fields.

        A field with `later` in its metadata counts only where it is not at its default: records
        from before it existed keep their keys.
        """
        values = self.values()
        for name, default in _later().items():
            if values[name] == default:
                del values[name]
        return hashlib.sha256(_SORTED.encode(values).encode()).hexdigest()[:16]

    def values(self) -> dict[str, Any]:
        """Return the fields by name."""
        found = vars(self)  # plainly, for speed: what `key` keeps there is no field
        return {name: found[name] for name in self.__dataclass_fields__}

    @property
    def slug(self) -> str:
        """Readable relative path `dataset/backbone/method/f10-s0-KEY`; the key makes it unique."""
        share = f"f{100 * self.fraction:g}".replace(".", "p")
        share = f"k{self.shots}" if self.shots else share
        parts = [self.dataset, self.backbone, self.method]
        return "/".join([*map(_safe, parts), f"{share}-s{self.seed}-{self.key}"])

    def folder(self, runs: Path) -> Path:
        """Return the folder of this cell below `runs`."""
        return runs / self.slug

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cell:
        """Return the cell that `asdict` wrote; unknown or missing fields raise InputError."""
        known, later = cls.__dataclass_fields__.keys(), _later().keys()
        if wrong := (values.keys() - known) | (known - later - values.keys()):
            raise InputError(f"a cell of another schema: fields {sorted(wrong)}")
        return cls(**values)


@functools.cache
def _later() -> dict[str, Any]:
    """Return the defaults of the fields that older records do not have."""
    return {item.name: item.default for item in fields(Cell) if item.metadata.get("later")}


def _safe(text: str) -> str:
    """Return `text` with what a shell or file system minds replaced, at most 80 characters."""
    text = text.replace("=", "").replace("(", "-").replace(",", "-")
    return re.sub(r"[^\w.+-]+", "_", text).strip("_.")[:80] or "_"


# What each random draw may depend on: all methods see the same split, subset and batches, and
# learning-rate trials start from the same initialisation.
_SEED_AXES = {
    "order": ("dataset", "split_seed", "fraction", "seed"),
    "init": ("dataset", "backbone", "method", "seed"),
    "head": ("dataset", "backbone", "seed"),
}


def seed(cell: Cell, purpose: str) -> int:
    """Return a 63-bit seed that depends on `purpose` and the axes it may depend on, only."""
    axes = [purpose, *(getattr(cell, axis) for axis in _SEED_AXES[purpose])]
    return int(hashlib.sha256(json.dumps(axes).encode()).hexdigest()[:15], 16)


def expand(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return one dictionary per point of the grid, the last axis fastest."""
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


@dataclass(frozen=True)
class Plan:
    """What the disk says of a list of cells."""

    todo: tuple[Cell, ...]
    done: tuple[Cell, ...]
    failed: tuple[Cell, ...]
    unsupported: tuple[Cell, ...]

    def counts(self) -> str:
        """Return "3 to do, 2 done, 0 failed, 1 unsupported"."""
        return (
            f"{len(self.todo)} to do, {len(self.done)} done, {len(self.failed)} failed, "
            f"{len(self.unsupported)} unsupported"
        )


def state(folder: Path) -> str:
    """Return "done", "unsupported", "failed" or "todo": which file stands in a cell's folder."""
    marks = {"record.json": "done", "unsupported.txt": "unsupported", "error.txt": "failed"}
    return next((name for mark, name in marks.items() if (folder / mark).exists()), "todo")


def plan(cells: Iterable[Cell], runs: Path) -> Plan:
    """Return the cells sorted by their state on disk; a cell that is listed twice counts once."""
    found: dict[str, list[Cell]] = {"todo": [], "done": [], "failed": [], "unsupported": []}
    for cell in dict.fromkeys(cells):
        found[state(cell.folder(runs))].append(cell)
    return Plan(**{name: tuple(members) for name, members in found.items()})
