"""A U-Net that trains from scratch, as a control: timm has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

# timm reads this of the module of a model that it registers
default_cfgs = generate_default_cfgs(
    {"monai_unet": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "classifier": ""}}
)
WIDTHS = (32, 32, 64, 128, 256, 32)  # MONAI's defaults: five levels, and the finest decoder level


class UNet(nn.Module):
    """MONAI's BasicUNet as a body: pooled bottleneck features, or the finest decoder level.

    Ronneberger et al. 2015, arXiv:1505.04597; `monai.networks.nets.BasicUNet`.
    """

    def __init__(self, in_chans: int = 3, num_classes: int = 0, **_: Any) -> None:
        super().__init__()
        from monai.networks.nets import BasicUNet

        if num_classes:
            raise ValueError("this body has no classifier of its own")
        self.net = BasicUNet(2, in_chans, 1, features=WIDTHS)
        self.net.final_conv = nn.Identity()
        self.num_features = WIDTHS[4]
        self.feature_info = [{"num_chs": WIDTHS[5], "reduction": 1, "module": "net"}]

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled bottleneck (B, 256) of images (B, 3, S, S)."""
        net = self.net
        for level in (net.conv_0, net.down_1, net.down_2, net.down_3, net.down_4):
            x = level(x)
        return F.adaptive_avg_pool2d(x, 1).flatten(1)

    def forward_intermediates(
        self, x: Tensor, indices: Sequence[int] | None = None, **_: Any
    ) -> list[Tensor]:
        """Return the finest decoder level, [(B, 32, S, S)]."""
        return [self.net(x)]


def register() -> None:
    """Make the network known to timm, so that it is created like all others."""
    register_model(monai_unet)


def monai_unet(pretrained: bool = False, **kwargs: Any) -> UNet:
    """Return an untrained U-Net."""
    kwargs = {k: v for k, v in kwargs.items() if k in ("in_chans", "num_classes")}
    return UNet(**kwargs)
