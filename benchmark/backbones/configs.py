"""What a repository of the model hub, or a folder, says of the network that it holds.

Two kinds of config.json are read: timm's, which names the network, and that of transformers for
the vision transformers whose tensors `layouts` can rename; and open_clip's open_clip_config.json
where there is no other. Imports neither torch nor timm.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.backbones.zoo import CLIP_IMAGES, Channels
from benchmark.core.files import cache_folder, read_json, write_json
from benchmark.core.registry import InputError

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
OPEN_CLIP = "open_clip_config.json"
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
INDEX = ".index.json"  # ends the name of what lists the parts of weights in several files
# by preference: safetensors hold no code
WEIGHTS = (
    "model.safetensors",
    f"model.safetensors{INDEX}",
    OPEN_CLIP_WEIGHTS[0],
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX}",
    OPEN_CLIP_WEIGHTS[1],
)


@dataclass(frozen=True)
class Config:
    """A network and the images it expects, as a config.json describes them."""

    timm_name: str
    kwargs: dict[str, Any]
    mean: Channels
    std: Channels
    image_size: int
    weights_file: str


def of_folder(folder: Path) -> Config:
    """Return the config of a folder, such as `export --format timm` or `save_pretrained` write.

    Raises:
        InputError: no folder, no config.json or weights in it, or a config that cannot be used.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {str(folder)!r}; write local-dir:PATH of one with a {CONFIG}")
    told = [n for n in (CONFIG, PROCESSOR, OPEN_CLIP) if (folder / n).exists()]
    files = {name: _json(folder / name) for name in told}
    if not files.keys() & {CONFIG, OPEN_CLIP}:
        raise InputError(
            f"{str(folder)!r} has no {CONFIG}; write file:PATH@NAME and name the network"
        )
    held = [name for name in WEIGHTS if (folder / name).is_file()]
    if not held:
        raise InputError(f"{str(folder)!r} holds none of {', '.join(WEIGHTS)}")
    return parsed(files, held[0], repr(str(folder)))


def of_repository(repository: str) -> Config:
    """Return the config of a repository of the hub; it is kept in the cache beside the weights.

    Raises:
        InputError: no network, no such repository, or a config that cannot be used.
    """
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise InputError(f"'hub:{repository}' names no repository; write hub:OWNER/NAME")
    kept = cache_folder() / f"{repository.replace('/', '--')}.config.json"
    if not kept.exists():
        asked = Asked(repository)
        name = CONFIG if CONFIG in (listed := asked.listed(CONFIG)) else OPEN_CLIP
        if name not in listed:
            raise InputError(f"hub:{repository} has no {CONFIG}; fetch it and name the network")
        files = {name: _json(asked.download(name))}
        # transformers keeps mean and std apart
        if name == CONFIG and "architecture" not in files[CONFIG]:
            files[PROCESSOR] = _json(asked.download(PROCESSOR))
        write_json(kept, {"files": files, "weights_file": asked.weights_file()})
    # read back even by who has just written it, so that all see the same
    values = _json(kept)
    return parsed(values["files"], values["weights_file"], f"hub:{repository}")


@dataclass(frozen=True)
class Asked:
    """A repository of the hub that is asked for files.

    `gate` is what its owner wants first, `instead` how to name a file that was fetched elsewhere.
    """

    repository: str
    gate: str = ""
    instead: str = f"--backbones local-dir:PATH, a folder with {CONFIG} and the weights"

    def download(self, name: str) -> Path:
        """Return the local path of a file, fetched where it is not there yet.

        Raises:
            InputError: no network, or the owner does not hand it out.
        """
        from huggingface_hub import hf_hub_download

        return Path(self._answer(name, lambda: hf_hub_download(self.repository, name)))

    def weights(self, name: str) -> Path:
        """Return the local path of a file with weights; of an index, its parts lie beside it."""
        path = self.download(name)
        for part in parts_of(path):
            self.download(part)
        return path

    def weights_file(self) -> str:
        """Return the name of the file with the weights."""
        listed = self.listed("the weights")
        held = [name for name in WEIGHTS if name in listed]
        if not held:
            raise InputError(f"hub:{self.repository} holds none of {', '.join(WEIGHTS)}")
        return held[0]

    def listed(self, wanted: str) -> list[str]:
        """Return the names of all files; `wanted` is what is looked for among them."""
        from huggingface_hub import HfApi

        return list(self._answer(wanted, lambda: HfApi().list_repo_files(self.repository)))

    def _answer(self, name: str, ask: Callable[[], Any]) -> Any:
        """Return what the hub answers; whatever goes wrong is one sentence."""
        if os.environ.get("HF_HUB_OFFLINE") == "1":
            raise InputError(
                f"{name} of {self.repository} is not in {str(cache_folder())!r} and this node must "
                "not fetch it; submit from a host that has it there, or share BENCHMARK_CACHE"
            )
        logger = logging.getLogger("huggingface_hub")
        level = logger.level
        logger.setLevel(logging.CRITICAL)  # it would print every try of a node without a network
        try:
            return ask()
        except Exception as error:  # of the client, of its transport, or of the file system
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise InputError(
                f"cannot get {name} of {self.repository} from the model hub ({reason}); "
                f"{self.gate + '; ' if self.gate else ''}or fetch it from "
                f"https://huggingface.co/{self.repository} where there is a network and use "
                f"{self.instead}"
            ) from None
        finally:
            logger.setLevel(level)


def parsed(files: Mapping[str, Mapping[str, Any]], weights_file: str, where: str) -> Config:
    """Return what the files of timm or transformers say.

    Raises:
        InputError: a field is missing, or the network is of a kind that is not read.
    """
    config = files.get(CONFIG, {})
    name = CONFIG if CONFIG in files else OPEN_CLIP
    try:
        if CONFIG not in files:
            return _of_open_clip(files[OPEN_CLIP], weights_file)
        if "architecture" in config:
            return _of_timm(config, weights_file)
        if "model_type" in config:
            return _of_transformers(config, files.get(PROCESSOR, {}), weights_file)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the {name} of {where} lacks or misstates {error}") from None
    raise InputError(
        f"the {CONFIG} of {where} is neither of timm (`architecture`) nor of transformers "
        "(`model_type`); write file:PATH@NAME and name the network"
    )


def _of_timm(config: Mapping[str, Any], weights_file: str) -> Config:
    pretrained = config.get("pretrained_cfg", config)  # older files have no level of its own
    kwargs = dict(config.get("model_args") or {})
    size = kwargs.pop("img_size", None) or pretrained["input_size"][-1]
    if kwargs.pop("in_chans", 3) != 3:
        raise ValueError("in_chans: three channels are needed")
    kwargs.pop("num_classes", None)  # features are wanted, whatever the file was trained to name
    if not kwargs.get("global_pool", "token"):
        del kwargs["global_pool"]  # tokens as they are: here features are pooled
    return Config(
        config["architecture"],
        kwargs,
        _three(pretrained["mean"]),
        _three(pretrained["std"]),
        int(size[-1] if isinstance(size, list) else size),
        weights_file,
    )


def _of_open_clip(config: Mapping[str, Any], weights_file: str) -> Config:
    model = config["model_cfg"]
    vision = model["vision_cfg"]
    size = vision.get("image_size", 224)
    kwargs: dict[str, Any] = {}
    if "timm_model_name" in vision:
        name = vision["timm_model_name"]
    else:
        name = f"vit_base_patch16_clip_{'quickgelu_' if model.get('quick_gelu') else ''}224"
        width = vision["width"]
        kwargs = {"embed_dim": width, "depth": vision["layers"], "patch_size": vision["patch_size"]}
        kwargs["num_heads"] = width // vision.get("head_width", 64)
        kwargs["mlp_ratio"] = vision.get("mlp_ratio", 4.0)
    return Config(
        name,
        kwargs,
        *_open_clip_images(config),
        int(size[-1] if isinstance(size, list) else size),
        weights_file,
    )


def _open_clip_images(config: Mapping[str, Any]) -> tuple[Channels, Channels]:
    """Return mean and std of the images; without a word of them, those that open_clip takes."""
    told = config.get("preprocess_cfg", {})
    found = {name: _three(told.get(name, usual)) for name, usual in CLIP_IMAGES.items()}
    return found["mean"], found["std"]


def beside(path: Path) -> tuple[Channels, Channels] | None:
    """Return mean and std that the config beside a file of open_clip tells, if there is one.

    Of files under open_clip's own names alone: what lies beside another may be of something else.
    """
    config = path.parent / OPEN_CLIP
    if path.name not in OPEN_CLIP_WEIGHTS or not config.exists():
        return None
    try:
        return _open_clip_images(_json(config))
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{str(config)!r} misstates mean or std: {error}") from None


def parts_of(path: Path) -> list[str]:
    """Return the names of the files that an index of weights lists; [] of any other file.

    Raises:
        InputError: it lists none, or one that does not lie beside it.
    """
    if not path.name.endswith(INDEX):
        return []
    table = _json(path).get("weight_map")
    names = sorted({str(n) for n in table.values()}) if isinstance(table, dict) else []
    # a name with a folder in it would lead out of what the user named
    if not names or any(Path(name).name != name for name in names):
        raise InputError(f"{str(path)!r} lists no files of weights beside it")
    return names


def _of_transformers(
    config: Mapping[str, Any], processor: Mapping[str, Any], weights_file: str
) -> Config:
    kind = config["model_type"]
    inner = config.get("vision_config", config)  # of networks for image and text
    if kind not in _KINDS:
        raise InputError(
            f"networks of transformers' kind {kind!r} are not read; known: {', '.join(_KINDS)}"
        )
    if not processor:
        raise InputError(
            f"there is no {PROCESSOR} with image_mean and image_std beside the {CONFIG} of a "
            f"{kind!r} network; without it nobody knows how its images were normalised"
        )
    timm_name, more = _KINDS[kind](inner)
    width = inner["hidden_size"]
    kwargs = {
        "embed_dim": width,
        "depth": inner["num_hidden_layers"],
        "num_heads": inner["num_attention_heads"],
        "patch_size": inner["patch_size"],
        **more,
    }
    if "mlp_ratio" not in kwargs:
        kwargs["mlp_ratio"] = _ratio(inner["intermediate_size"], width)
    return Config(
        timm_name,
        kwargs,
        _three(processor["image_mean"]),
        _three(processor["image_std"]),
        int(inner["image_size"]),
        weights_file,
    )


def _ratio(inner: int, width: int) -> float:
    """Return the ratio from which timm, which cuts the product to an integer, finds `inner`."""
    ratio = inner / width
    return ratio if int(width * ratio) == inner else (inner + 0.5) / width


Kind = tuple[str, dict[str, Any]]


def _vit(config: Mapping[str, Any]) -> Kind:
    return "vit_base_patch16_224", {"qkv_bias": config.get("qkv_bias", True)}


def _dinov2(config: Mapping[str, Any]) -> Kind:
    registers = config.get("num_register_tokens", 0)
    name = "vit_base_patch14_reg4_dinov2" if registers else "vit_base_patch14_dinov2"
    more: dict[str, Any] = {"init_values": config["layerscale_value"]}
    more |= {"reg_tokens": registers} if registers else {}
    more["mlp_ratio"] = config["mlp_ratio"]
    if config.get("use_swiglu_ffn"):
        width = config["hidden_size"]
        # timm counts in mlp_ratio what its first layer gives out:
        # two thirds of the width, in eights, as DINOv2 has it; twice, as timm counts both halves
        inner = (int(int(width * config["mlp_ratio"]) * 2 / 3) + 7) // 8 * 8
        more["mlp_ratio"] = _ratio(2 * inner, width)
        more |= {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}
    return name, more


def _dinov3(config: Mapping[str, Any]) -> Kind:
    biases = config.get("query_bias", True)
    more: dict[str, Any] = {
        "init_values": config["layerscale_value"],
        "num_reg_tokens": config.get("num_register_tokens", 0),
        "rope_temperature": config["rope_theta"],
        "global_pool": "token",  # as that library pools; timm's default is the mean of patches
    }
    if config.get("use_gated_mlp"):
        if config.get("hidden_act") != "silu":  # which timm's gated layer has
            raise ValueError(f"hidden_act: {config.get('hidden_act')!r}")
        more |= {"swiglu_mlp": True, "swiglu_align_to": 1}  # the width that is told, as it is
    return f"vit_base_patch16_dinov3{'_qkvb' if biases else ''}", more


def _clip(config: Mapping[str, Any]) -> Kind:
    quick = config.get("hidden_act", "quick_gelu") == "quick_gelu"
    return f"vit_base_patch16_clip_{'quickgelu_' if quick else ''}224", {}


def _siglip(config: Mapping[str, Any]) -> Kind:
    return "vit_base_patch16_siglip_224", {"act_layer": "gelu_tanh"}


def _sam(config: Mapping[str, Any]) -> Kind:
    return "samvit_base_patch16", {
        "window_size": config["window_size"],
        "global_attn_indexes": config["global_attn_indexes"],
        "neck_chans": config["output_channels"],
        "mlp_ratio": _ratio(config["mlp_dim"], config["hidden_size"]),
    }


# transformers' model_type -> the network of timm, and arguments beyond those that all have
_KINDS: dict[str, Callable[[Mapping[str, Any]], Kind]] = {
    "vit": _vit,
    "vit_mae": _vit,
    "vit_msn": _vit,
    "dinov2": _dinov2,
    "dinov2_with_registers": _dinov2,
    "dinov3_vit": _dinov3,
    "clip": _clip,
    "clip_vision_model": _clip,
    "siglip": _siglip,
    "siglip_vision_model": _siglip,
    "sam": _sam,
}


def _three(values: Any) -> Channels:
    red, green, blue = (float(v) for v in values)
    return red, green, blue


def _json(path: Path) -> dict[str, Any]:
    values = read_json(path, "take that of the checkpoint")
    if not isinstance(values, dict):
        raise InputError(f"{str(path)!r} holds no object of JSON")
    return values
