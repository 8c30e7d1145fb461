"""Networks without pre-trained weights: controls that train from scratch, tiny ones for tests.

What timm lacks is made known to it like its own models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (32, 32, 64, 128, 256, 32)  # MONAI's defaults: five levels, and the finest decoder level
_TINY_VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8}
_TINY_SWIN = {"embed_dim": 16, "depths": (1, 2), "num_heads": (2, 2), "window_size": 4}
_TINY_NEXT = {"depths": (1, 1, 1, 1), "dims": (16, 16, 32, 32)}
_TINY_RES = {"layers": (1, 1, 1, 1), "channels": (16, 16, 32, 32), "stem_width": 16}
_TINY_PVT = {"depths": (1, 1, 1, 1), "embed_dims": (16, 16, 32, 32), "num_heads": (1, 1, 2, 2)}
TINY: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("tiny_vit", "vit_tiny_patch16_224", _TINY_VIT),
    ("tiny_swin", "swin_tiny_patch4_window7_224", _TINY_SWIN),
    ("tiny_convnext", "convnext_tiny", _TINY_NEXT),
    ("tiny_resnet", "resnet18", _TINY_RES),
    ("tiny_pvt", "pvt_v2_b0", _TINY_PVT),
)
default_cfgs = generate_default_cfgs(
    {"monai_unet": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "classifier": ""}}
)


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


@register_model
def monai_unet(pretrained: bool = False, **kwargs: Any) -> UNet:
    """Return an untrained U-Net."""
    kwargs = {k: v for k, v in kwargs.items() if k in ("in_chans", "num_classes")}
    return UNet(**kwargs)
