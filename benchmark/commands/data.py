"""List data sets, show what a cell sees, prepare images, and check for leaks and faults."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.commands._axes import RUNS, a_path, dashed, flag
from benchmark.core.numbers import COUNT, FROM_ZERO, Number
from benchmark.core.registry import InputError
from benchmark.core.spec import split_list

if TYPE_CHECKING:
    from benchmark.data import Dataset
    from benchmark.data.doctor import Finding

THRESHOLD = 0.95  # of the correlation of near-duplicates
SIDE = Number(int, above=0, most=65_536)
FRACTION = Number(float, above=0, most=1)
BETWEEN = Number(float, above=0, below=1)
# What each flag is for: one that would be ignored is an error.
FLAGS = {
    "json": ("show", "check"),
    "fraction": ("show",),
    "shots": ("show",),
    "seed": ("show",),
    "all": ("show",),
    "threshold": ("check", "prepare"),
    "image_size": ("prepare",),
    "group_duplicates": ("prepare",),
    "out": ("show", "prepare"),
}
# Of two flags that are given, the second would be ignored.
NOT_BOTH = (("shots", "fraction"), ("group_duplicates", "image_size"), ("json", "out"))
WHAT = (
    "list: what there is; show: splits, classes and a picture of images; prepare: unpack and "
    "decode; check: leaks and faults"
)
SHOWN = 3  # examples of a finding in the terminal; --json has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    parser.add_argument("what", choices=("list", "show", "prepare", "check"), help=WHAT)
    parser.add_argument("name", nargs="?", help="a data set, or the path of a manifest or folder")
    parser.add_argument(
        "--root", type=a_path, help="folder of named sets (default: $BENCHMARK_DATA, else data)"
    )
    parser.add_argument(
        "--json", action="store_const", const=True, help="with show, check: for programs"
    )
    parser.add_argument(
        "--fraction", type=flag(FRACTION), help="with show: label fraction (default: 1)"
    )
    parser.add_argument("--shots", type=flag(COUNT), help="with show: images per class instead")
    parser.add_argument(
        "--seed", type=flag(FROM_ZERO), help="with show: seed of the split (default: 0)"
    )
    parser.add_argument(
        "--threshold",
        type=flag(BETWEEN),
        help="with check, prepare: correlation of near-duplicates (default: 0.95)",
    )
    parser.add_argument(
        "--image-size", metavar="A,B", help="with prepare: sides in pixels (default: 56)"
    )
    parser.add_argument(
        "--group-duplicates",
        action="store_const",
        const=True,
        help="with prepare: write a manifest in which near-duplicates are one group",
    )
    parser.add_argument(
        "--all",
        action="store_const",
        const=True,
        help="with show: open all images, not 32",
    )
    parser.add_argument("--out", type=a_path, help="with show, prepare: folder to write into")


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; return 1 when `check` finds an error."""
    for name, verbs in FLAGS.items():
        if getattr(arguments, name) is not None and arguments.what not in verbs:
            raise InputError(f"{dashed(name)} is for `data {' and '.join(verbs)}`; leave it out")
    for pair in NOT_BOTH:
        if all(getattr(arguments, name) is not None for name in pair):
            one, other = map(dashed, pair)
            raise InputError(f"{one} and {other} exclude each other; leave one out")
    arguments.threshold = THRESHOLD if arguments.threshold is None else arguments.threshold
    if arguments.what == "list":
        if arguments.name:
            raise InputError(f"`data list` takes no name; see `data show {arguments.name}`")
        return _list(arguments.root)
    if not arguments.name:
        raise InputError(f"`data {arguments.what}` needs a data set; see `data list`")
    from benchmark.data import located

    arguments.name = located(arguments.name, arguments.root)
    action = {"show": _show, "prepare": _prepare, "check": _check}[arguments.what]
    return action(arguments)


def _list(root: Path | None) -> int:
    """Print every named set, and whether something of it is here; nothing is opened."""
    from benchmark.core.files import data_root
    from benchmark.data import datasets, located
    from benchmark.data.readers.layout import Download
    from benchmark.sweep.catalogue import as_text

    rows: list[list[str]] = []
    for name in datasets:
        card = datasets[name].card
        folder = Path(located(name, root).partition("@")[2])
        if card.variant_of:
            continue
        if datasets[name].embedded:
            place = "embedded"
        elif not folder.is_dir():
            place = "absent"
        else:
            place = "empty" if Download(card, folder).is_empty else "present"
        rows.append([name, card.task, card.modality, place])
    print(as_text((["data set", "task", "modality", f"below {root or data_root()}"], rows)))
    variants = [name for name in datasets if datasets[name].card.variant_of]
    if variants:
        sizes = ", ".join(sorted({f"_{name.rpartition('_')[2]}" for name in variants}))
        print(f"\nThe sets of MedMNIST also come larger, by name: {sizes} (dermamnist_224).")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from benchmark.data import datasets, open_dataset, refuse_in_tree, show, split

    out = arguments.out or RUNS / "data"
    refuse_in_tree(out, arguments.name, "--out")
    try:
        dataset = open_dataset(arguments.name)
    except InputError:
        name = arguments.name.partition("@")[0]
        if name in datasets:
            card = datasets[name].card
            print(f"{card.name}: {card.get}; {card.url}; licence {card.licence}")
        raise
    fraction = 1.0 if arguments.fraction is None else arguments.fraction
    parts = split(dataset, fraction, arguments.seed or 0, shots=arguments.shots or 0)
    opened = show.open_pixels(dataset, bool(arguments.all))
    if arguments.json:
        print(json.dumps(show.listing(dataset, parts), indent=1))
        return 0
    print(show.describe(dataset, parts))
    print(f"\n{opened} of {len(dataset)} images opened" + ("" if arguments.all else "; --all: all"))
    if arguments.name.partition("@")[0] not in datasets:
        print("\nas understood; correct it and save it beside the data as dataset.toml:\n")
        print(show.proposal(dataset))
    path = out / f"{dataset.card.name}.png"
    show.montage(dataset, parts.train, path)
    print(f"\nmontage of training images: {path}")
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    from benchmark.data import datasets, decoded, open_dataset, prepare, refuse_in_tree
    from benchmark.data.readers import unpack
    from benchmark.data.sets import medmnist

    asked = "56" if arguments.image_size is None else arguments.image_size
    sides = [SIDE.read(text, "--image-size") for text in split_list(asked)]
    cache = arguments.out or RUNS / "cache"
    refuse_in_tree(cache, arguments.name, "--out")
    name, _, place = arguments.name.partition("@")
    if name in datasets and place:
        for archive in unpack.unpack(Path(place)):
            print(f"unpacked {archive}")
    if place and (path := medmnist.fetched(name, Path(place))):
        print(f"fetched {path}")
    dataset = open_dataset(arguments.name)
    if arguments.group_duplicates:
        return _group(dataset, arguments)
    for side in sides:
        decoded(dataset, side, cache)
        print(f"decoded {len(dataset)} images at {side} px below {cache}")
    print(f"listed in {prepare.write_listing(dataset, cache)}")
    return 0


def _group(dataset: Dataset, arguments: argparse.Namespace) -> int:
    """Write a manifest in which near-duplicates share a group."""
    from benchmark.core.files import refuse_inside
    from benchmark.data import prepare
    from benchmark.data.base import many
    from benchmark.data.doctor import merged_groups, near_duplicates

    out = arguments.out or RUNS / "data" / f"{dataset.card.name}_grouped"
    refuse_inside(out, filter(Path.exists, [Path(arguments.name)]))
    pairs = near_duplicates(dataset.read_image, len(dataset), arguments.threshold)
    groups = merged_groups(list(dataset.groups), pairs)
    path = prepare.write_manifest(dataset, groups, out)
    count = len(set(dataset.groups))
    what = many(len(pairs), "near-duplicate pair")
    print(f"{what}; {count} groups became {len(set(groups))}: {path}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from benchmark.data import open_dataset
    from benchmark.data.doctor import examine

    dataset = open_dataset(arguments.name)
    findings, pairs = examine(dataset, arguments.threshold)
    if arguments.json:
        near = [[dataset.ids[p.a], dataset.ids[p.b], round(p.correlation, 4)] for p in pairs]
        answer: dict[str, Any] = {"dataset": dataset.card.name, "fingerprint": dataset.fingerprint}
        answer |= {"notes": dataset.remarks()}
        found = [asdict(finding) for finding in findings]
        print(json.dumps(answer | {"findings": found, "near_duplicates": near}, indent=1))
    else:
        print(f"{dataset.card.name}: {len(dataset)} images, fingerprint {dataset.fingerprint}")
        for note in dataset.remarks():
            print(f"note: {note}")
        print("\n".join(map(_line, findings)) or "no fault")
    return 1 if any(finding.severity == "error" for finding in findings) else 0


def _line(finding: Finding) -> str:
    names = [" = ".join(n) if isinstance(n, tuple) else n for n in finding.images[:SHOWN]]
    examples = "".join(f"\n    {name}" for name in names)
    more = len(finding.images) - SHOWN
    rest = f"\n    ... {more} more" if more > 0 else ""
    return f"{finding.severity}: {finding.text}{examples}{rest}"
