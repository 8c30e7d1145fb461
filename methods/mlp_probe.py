"""MLP probe: a small network between the frozen features and the task's head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from methods import families
from methods.base import Count, Method, register
from methods.parts.backbone import as_backbone
from methods.parts.extensions import NetworkExtension
from methods.seams import extend
from methods.vpt_deep import VPT


class ProbedFeatures(NetworkExtension):
    """Pooled features, and the last dense map, go through `probe`; the backbone has no graph."""

    probe: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, D)."""
        return self.probe(super().forward(x))

    def forward_intermediates(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return timm's maps (B, C, H, W); the last one is probed pixel by pixel."""
        found = super().forward_intermediates(x, *args, **kwargs)
        only = kwargs.get("intermediates_only", False)
        maps = found if only else found[1]
        # the map has the channels of the pooled features, so one network serves both tasks
        last = self.probe(maps[-1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return [*maps[:-1], last] if only else (found[0], [*maps[:-1], last])


@register("mlp_probe")
@dataclass(frozen=True)
class MLPProbe(Method):
    """Linear, GELU, linear of the features' width D, with `bottleneck` hidden units.

    For dense features it reads the last map, whose channels are D.
    """

    bottleneck: Count = 256

    display = "MLP probe"
    family = "Reference"
    works = (VPT,)
    passage = "MLP-k, sec. 4.1"
    # no residual and no zero start: MLP-k replaces the features instead of correcting them
    identity = False
    lr = 1e-3
    reads = "last"

    def edit(self, backbone: nn.Module) -> None:
        """Put the network behind the backbone."""
        width = as_backbone(backbone).num_features
        layers = (nn.Linear(width, self.bottleneck), nn.GELU(), nn.Linear(self.bottleneck, width))
        extend(backbone, ProbedFeatures, probe=nn.Sequential(*layers))

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where the pooled features are not those of the last map."""
        if families.find(backbone) is None:
            return "the family of this backbone is unknown"
        network = as_backbone(backbone)
        last, width = network.feature_info[-1]["num_chs"], network.num_features
        if last != width:
            return f"its last map has {last} channels, its pooled features {width}"
        return None

    def count(self, backbone: nn.Module) -> int:
        """Return 2 D h + h + D."""
        width = as_backbone(backbone).num_features
        return 2 * width * self.bottleneck + self.bottleneck + width
