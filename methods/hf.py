"""Any tuner of Hugging Face's `peft` on linear layers of any backbone."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from benchmark.core.citation import Citation
from benchmark.core.registry import InputError, unknown
from benchmark.core.spec import parse_spec
from methods import families
from methods.base import Method, register, trainable
from methods.parts import targets

PAPER = Citation(
    (
        "Mangrulkar, Sourab",
        "Gugger, Sylvain",
        "Debut, Lysandre",
        "Belkada, Younes",
        "Paul, Sayak",
        "Bossan, Benjamin",
    ),
    "PEFT: State-of-the-art Parameter-Efficient Fine-Tuning methods",
    2022,
    "https://github.com/huggingface/peft",
)

MOVED = {"FOURIERFT"}  # tuners whose default start changes the function


@register("hf")
@dataclass(frozen=True)
class HuggingFace(Method):
    """`hf(tuner=LOHA,targets=fc1+fc2,options="r=4,alpha=8")`: a tuner of `peft` as a method.

    `tuner` is a `peft.PeftType`, `targets` joins whole linear layers with + (qkv, q, kv, proj, fc1,
    fc2), `options` are arguments of the tuner's configuration; the library's defaults else. The
    count is read off a copy with the tuner in place, because the library states none. Tuners whose
    schedule needs the library's own training loop (AdaLoRA's pruning) run without that schedule.
    Needs the extra `peft`.
    """

    tuner: str = "LORA"
    targets: str = "fc1+fc2"
    options: str = ""

    display = "Hugging Face PEFT"
    family = "Mixed"
    works = (PAPER,)
    lr = 1e-3
    mergeable = True

    def __post_init__(self) -> None:
        super().__post_init__()
        targets.check(self.targets)
        if self.tuner != "LORA" or self.options:  # else nothing can be wrong, and peft loads slowly
            self._config([])

    def edit(self, backbone: nn.Module) -> None:
        """Let the library replace the layers."""
        import peft

        names = {id(module): name for name, module in backbone.named_modules()}
        layers = [names[id(layer)] for layer in self._layers(backbone)]
        peft.inject_adapter_in_model(self._config(layers), backbone)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where a target is missing, or is read and never called."""
        roles = self.targets.split("+")
        for role in roles:
            if not any(families.linear(block, role) for block in families.blocks(backbone)):
                return f"its blocks have no linear layer {role!r}; name others with targets="
        if "qkv" in roles and any(map(families.outer_qkv_bias, families.blocks(backbone))):
            return "its attention reads the weight of qkv, which the library's layer would not see"
        return None

    def count(self, backbone: nn.Module) -> int:
        """Return the number of values that are trained in a copy of `backbone`."""
        # the library states no counts in closed form, and an attached network cannot be taken back
        twin = copy.deepcopy(backbone).requires_grad_(False)
        self.edit(twin)
        return sum(p.numel() for p in trainable(twin).values())

    def is_identity(self, backbone: nn.Module) -> bool:
        """Return whether the tuner starts as the backbone."""
        return self.tuner not in MOVED

    def fold(self, module: nn.Module) -> nn.Module:
        """Merge the library's layers and put the plain ones back."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        for name, layer in list(module.named_modules()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge()
                parent, _, own = name.rpartition(".")
                setattr(module.get_submodule(parent), own, layer.get_base_layer())
        return module

    def _config(self, layers: list[str]) -> Any:
        """Return the library's configuration, on the layers of these names."""
        if importlib.util.find_spec("peft") is None:
            raise InputError(
                "hf(...) needs the package peft: pip install 'peft-medical-benchmark[peft]'"
            )
        import peft

        known: dict[Any, Any] = peft.PEFT_TYPE_TO_CONFIG_MAPPING
        names = [kind.value for kind in known]
        if self.tuner not in names:
            raise unknown("tuner of peft", self.tuner, names)
        tuner = peft.PEFT_TYPE_TO_TUNER_MAPPING.get(peft.PeftType(self.tuner))
        if getattr(tuner, "uses_shared_state", False):
            raise InputError(
                f"{self.tuner} of peft keeps tensors outside of the layers, so that it cannot be "
                "attached to them alone; vera and randlora are methods of this project"
            )
        options = parse_spec(f"options({self.options})")[1]
        try:
            return known[peft.PeftType(self.tuner)](target_modules=layers, **options)
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.tuner} of peft refuses {self.options!r}: {error}") from None

    def _layers(self, backbone: nn.Module) -> Iterator[nn.Linear]:
        for block in families.blocks(backbone):
            for role in self.targets.split("+"):
                if (layer := families.linear(block, role)) is not None:
                    yield layer
