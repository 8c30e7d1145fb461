"""Named suites: Python functions that return grids.

Imports neither torch nor pandas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.core.registry import InputError, Registry
from benchmark.sweep import names
from benchmark.sweep.grid import CONVERGED, Grid, read_config, with_axes, with_budget

Suite = Callable[[], list[Grid]]
suites: Registry[Suite] = Registry("suite")

IN_PLACE = ("linear", "bitfit", "vpt_shallow", "vpt_deep", "adaptformer", "lora", "ssf", "dvpt")


@suites.add("smoke")
def smoke() -> list[Grid]:
    """Classification and segmentation on untrained tiny backbones, in seconds."""
    small: dict[str, Any] = {"steps": (4,), "batch_size": (8,), "evaluations": (2,)}
    methods = ("linear", "lora(rank=4)", "dvpt(prompts=4,bottleneck=4)")
    return [
        Grid(methods, ("tiny_vit",), ("phantom_grading",), (0.2,), **small),
        Grid(methods, ("tiny_swin",), ("phantom_lesions",), (0.2,), **small),
    ]


@suites.add("default")
def default() -> list[Grid]:
    """The paper's method, LoRA and a linear probe with few labels on the embedded backbone."""
    return [Grid()]


@suites.add("fractions")
def fractions() -> list[Grid]:
    """Label efficiency: from 10 % to all labels, three seeds, full fine-tuning as reference."""
    shares = (0.1, 0.2, 0.4, 0.6, 1.0)
    return [Grid(("full", *IN_PLACE), fractions=shares, seeds=(0, 1, 2), steps=(200,))]


@suites.add("ablation")
def ablation() -> list[Grid]:
    """What makes DVPT work: attention, sharing, prompts, width, merge, start; with its controls.

    An image of the embedded backbone at its default size has 16 tokens, so `merge=rows` inserts a
    quarter, as many, and three times as many.
    """
    variants = (
        "dvpt",
        "dvpt(attention=False)",
        "dvpt(share=3)",
        "dvpt(prompts=10)",
        "dvpt(bottleneck=8)",
        "dvpt(start=fast_gate)",
        "dvpt(start=up)",
        "dvpt(merge=rows,prompts=4)",
        "dvpt(merge=rows,prompts=16)",
        "dvpt(merge=rows)",
        "dvpt_released",
        "vpt_shallow(prompts=50)",
    )
    return [Grid(variants, fractions=(0.4,), seeds=(0, 1, 2))]


@suites.add("controls")
def controls() -> list[Grid]:
    """What a comparison must beat: nothing pre-trained, nothing trained, networks from scratch."""
    common: dict[str, Any] = {"fractions": (0.1, 0.4, 1.0), "seeds": (0, 1, 2), "steps": (200,)}
    untrained = ("random:vit_s14_imgfocus", "small_cnn", "unet")
    return [
        Grid(("full", "linear", "knn"), **common),
        Grid(("full",), untrained, lr=(1e-3,), **common),
    ]


@suites.add("reference")
def reference() -> list[Grid]:
    """Every kind of method with few, some and all labels, each trained until it converges.

    Grading and segmentation of real images, which the user has: name the files with `--datasets`.
    Methods come before seeds: whenever it is stopped, the table of the first methods is complete.
    Rates are each method's own; tune them all alike beforehand (`--tune-budget` at one fraction and
    a seed that is in no table) and give what was found with `--tuned-from`.
    """
    methods = (
        *("linear", "lora", "dvpt", "full", "knn", "vpt_deep", "adaptformer", "bitfit"),
        *("dvpt(merge=rows)", "dvpt_released", "vpt_shallow", "norm", "adapter_plus", "dora"),
        *("fact_tk", "repadapter", "convpass"),
    )
    common: dict[str, Any] = {
        "datasets": ("busi", "msd_hippocampus"),
        "fractions": (0.1, 0.4, 1.0),
        "seeds": (0, 1, 2),
        **CONVERGED,
    }
    scratch: dict[str, Any] = {"methods": ("full",), "lr": (1e-3,), **common}
    return [
        Grid(methods, image_size=(98,), **common),
        Grid(backbones=("random:vit_s14_imgfocus",), image_size=(98,), **scratch),
        # what halves its maps three or four times takes no multiple of 14
        Grid(backbones=("small_cnn", "unet"), image_size=(96,), **scratch),
    ]


@suites.add("protocol")
def protocol() -> list[Grid]:
    """The same cells under this protocol and under the authors' habits; run it with --peek.

    Beside drawn labels and three seeds the first files of each class and one seed; `--peek` adds
    the checkpoint chosen on the test set, and `compare` sets them side by side.
    """
    methods = ("linear", "lora", "dvpt", "full")
    common: dict[str, Any] = {"datasets": ("busi",), "fractions": (0.1, 0.4), "steps": (200,)}
    return [
        Grid(methods, seeds=(0, 1, 2), **common),
        Grid(methods, subset=("first",), seeds=(0,), **common),
    ]


@suites.add("quick")
def quick() -> list[Grid]:
    """The reference suite in small: four methods on generated images, in a few minutes."""
    return [
        Grid(
            ("linear", "lora", "dvpt", "full"),
            datasets=("phantom_grading", "phantom_lesions"),
            fractions=(0.4,),
            seeds=(0, 1),
            patience=(2,),
            steps=(120,),
            evaluations=(12,),
        )
    ]


@suites.add("paper")
def paper() -> list[Grid]:
    """The DVPT paper's axes, for users who have its data; see `list datasets` for where to get it.

    60 epochs for grading and 80 for segmentation, learning rate 5e-4 and weight decay 1e-4 are the
    authors'; split, selection and pooling follow this benchmark's protocol.
    """
    methods = ("full", *IN_PLACE, "dvpt_released")
    shares = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
    common: dict[str, Any] = {
        "fractions": shares,
        "seeds": (0, 1, 2),
        "weight_decay": (1e-4,),
        "lr": (5e-4,),
    }
    grading = Grid(
        methods,
        ("vit_b16_clip",),
        ("ddr_grading",),
        **common,
        epochs=(60,),
        batch_size=(50,),
        image_size=(288,),
        augment=("dvpt",),
    )
    segmentation = Grid(
        methods,
        ("swin_b_in22k", "pvt_v2_b4"),
        ("isic2016", "kvasir_seg"),
        **common,
        epochs=(80,),
        batch_size=(10,),
        image_size=(224,),
    )
    return [grading, segmentation]


# Two ways of saying one thing, and what the first is when the second is given.
_EITHER: dict[tuple[str, str], tuple[Any, ...]] = {
    ("epochs", "steps"): (None,),
    ("shots", "fractions"): (0,),
}


def request(
    axes: Mapping[str, Any],
    *,
    suite: str | None = None,
    config: Path | None = None,
    budget: int | None = None,
    until_converged: bool = False,
) -> list[Grid]:
    """Return the grids asked for: a suite, changed by a TOML file, and that by `axes`.

    Values that are None leave an axis as it is; `budget` is that of `with_budget`. With
    `until_converged` the grids take `CONVERGED` where neither file nor axes say otherwise.

    Raises:
        InputError: an unknown suite or name, a value of another type, or two that exclude another.
    """
    file = read_config(config) if config is not None else {}
    named = file.pop("suite", "default")
    chosen = named if suite is None else suite
    if not isinstance(chosen, str):
        raise InputError(f"suite {chosen!r} in {str(config)!r} is not a name")
    grids = suites[chosen]()
    for layer in (CONVERGED if until_converged else {}, file, axes):
        given = {axis: value for axis, value in layer.items() if value is not None}
        for (one, other), neutral in _EITHER.items():
            if one in given and other in given:
                raise InputError(f"{one} and {other} exclude each other; leave one out")
            if other in given:  # it also replaces what an earlier layer says of `one`
                grids = [replace(grid, **{one: neutral}) for grid in grids]
        grids = [with_axes(grid, given) for grid in grids]
        if given.get("views") and all(grid.augment == ("none",) for grid in grids):
            raise InputError("views are of augmented images, and augment is 'none'; change one")
    for grid in grids:
        names.check_methods(grid.methods)
        names.check_datasets(grid.datasets)
        names.check_backbones(grid.backbones)
    return grids if budget is None else [with_budget(grid, budget) for grid in grids]
