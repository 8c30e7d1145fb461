"""Each method's block against its paper's formula, written here a second time in plain torch."""

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

import methods
from methods import build

torch.set_num_threads(1)
D, HEADS = 16, 2


def attached(spec, **kwargs):
    """The first block of a tiny ViT in double precision, every trained tensor drawn anew."""
    torch.manual_seed(0)
    sizes = {"embed_dim": D, "depth": 2, "num_heads": HEADS, "img_size": 32, "patch_size": 8}
    backbone = timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes, **kwargs)
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.3)
    body = build(spec).attach(backbone.double()).eval()
    for parameter in methods.trainable(body).values():
        nn.init.normal_(parameter, std=0.3)
    return body.blocks[0]


def linear(layer, x, weight=None):
    return F.linear(x, layer._parameters["weight"] if weight is None else weight, layer.bias)


def norm(layer, x):
    return F.layer_norm(x, x.shape[-1:], layer.weight, layer.bias, layer.eps)


def attention(block, q, k, v):
    """Softmax attention of (B, N, D) over (B, M, D), head by head, and its projection."""
    heads = [t.chunk(HEADS, -1) for t in (q, k, v)]
    read = [
        (a @ b.transpose(-1, -2) / (D / HEADS) ** 0.5).softmax(-1) @ c
        for a, b, c in zip(*heads, strict=True)
    ]
    return linear(block.attn.proj, torch.cat(read, -1))


def self_attention(block, n):
    return attention(block, *linear(block.attn.qkv, n).chunk(3, -1))


def mlp(block, n):
    return linear(block.mlp.fc2, F.gelu(linear(block.mlp.fc1, n)))


def branches(block, x, attn=self_attention, feed=mlp, middle=lambda x: x):
    """The block with its branches replaced, and `middle` on the stream between them."""
    x = middle(x + attn(block, norm(block.norm1, x)))
    return x + feed(block, norm(block.norm2, x))


def bottleneck(adapter, x, act):
    return linear(adapter.up, act(linear(adapter.down, x)))


def on_grid(conv, tokens):
    """A convolution over the 4 x 4 patch tokens; CLS meets the centre of the kernel alone."""
    patches = tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, 4, 4)
    found = F.conv2d(patches, conv.weight, conv.bias, padding="same", groups=conv.groups)
    middle = conv.weight.shape[-1] // 2
    full = torch.zeros(conv.weight.shape[0], conv.weight.shape[0], dtype=tokens.dtype)
    centre = conv.weight[:, :, middle, middle]
    full += torch.diag(centre[:, 0]) if conv.groups > 1 else centre
    first = tokens[:, :1] @ full.T + conv.bias
    return torch.cat([first, found.flatten(2).transpose(1, 2)], 1)


def adaptformer(block, x):
    def feed(block, n):
        return mlp(block, n) + 0.1 * bottleneck(block.mlp.adapter, n, F.relu)

    return branches(block, x, feed=feed)


def houlsby(block, x):
    def after(branch, owner):
        def forward(block, n):
            y = branch(block, n)
            return y + bottleneck(owner.adapter, y, F.gelu)

        return forward

    return branches(block, x, after(self_attention, block.attn), after(mlp, block.mlp))


def pfeiffer(block, x):
    def feed(block, n):
        y = mlp(block, n)
        return y + bottleneck(block.mlp.adapter, y, F.relu)

    return branches(block, x, feed=feed)


def adapter_plus(block, x):
    out = branches(block, x)
    return out + block.last.channels * bottleneck(block.last, out, F.gelu)


def compacter(block, x):
    def hyper(layer, x):
        pairs = zip(layer.rules, layer.s, layer.t, strict=True)
        return x @ sum(torch.kron(a, s @ t) for a, s, t in pairs) + layer.bias

    def after(branch, owner):
        def forward(block, n):
            y = branch(block, n)
            return y + hyper(owner.adapter.up, F.gelu(hyper(owner.adapter.down, y)))

        return forward

    return branches(block, x, after(self_attention, block.attn), after(mlp, block.mlp))


def arc(block, x):
    def changed(adapter, n):
        scaled = adapter.shared @ torch.diag(adapter.scales) @ adapter.shared.T
        return n + n @ scaled + adapter.bias

    def attn(block, n):
        return self_attention(block, changed(block.attn.adapter, n))

    return branches(block, x, attn, lambda block, n: mlp(block, changed(block.mlp.adapter, n)))


def repadapter(block, x):
    def changed(adapter, n):
        ups = adapter.up.weight.squeeze(-1).chunk(adapter.up.groups)
        inner = linear(adapter.down, n)
        return n + 2 * (inner @ torch.block_diag(*ups).T + adapter.up.bias)

    def attn(block, n):
        return self_attention(block, changed(block.attn.adapter, n))

    return branches(block, x, attn, lambda block, n: mlp(block, changed(block.mlp.adapter, n)))


def convpass(block, x):
    def quick(x):
        return x * torch.sigmoid(1.702 * x)

    def bypass(adapter, n):
        mixed = on_grid(adapter.conv, quick(linear(adapter.down, n)))
        return 2 * linear(adapter.up, quick(mixed))

    def attn(block, n):
        return self_attention(block, n) + bypass(block.attn.adapter, n)

    return branches(block, x, attn, lambda block, n: mlp(block, n) + bypass(block.mlp.adapter, n))


def mona(block, x):
    def adapter(module, x):
        inner = linear(module.down, norm(module.norm, x) * module.of_norm + x * module.of_input)
        inner = inner + sum(on_grid(conv, inner) for conv in module.filters) / 3
        inner = inner + on_grid(module.mix, inner)
        return x + linear(module.up, F.gelu(inner))

    changer = block.drop_path1.changer
    return adapter(block.last, branches(block, x, middle=lambda x: adapter(changer, x)))


def prefix_attention(block, n):
    q, k, v = linear(block.attn.qkv, n).chunk(3, -1)
    rows = [block.attn.qkv.prompt_keys, block.attn.qkv.prompt_values]
    rows = [t.expand(len(n), -1, -1) for t in rows]
    return attention(block, q, torch.cat([k, rows[0]], 1), torch.cat([v, rows[1]], 1))


def prefix(block, x):
    return branches(block, x, prefix_attention)


def e2vpt(block, x):
    prompts = block.prompts.expand(len(x), -1, -1)
    return prefix(block, torch.cat([x, prompts], 1))[:, : x.shape[1]]


def mam(block, x):
    def feed(block, n):
        return mlp(block, n) + 3 * bottleneck(block.mlp.adapter, n, F.relu)

    return branches(block, x, prefix_attention, feed)


def cvpt(block, x):
    def read(x):
        cross, layer = block.drop_path1.changer, block.attn.qkv
        rows = [t.chunk(3) for t in (layer.weight, layer.bias)]
        q = F.linear(norm(block.norm1, x), rows[0][0], rows[1][0])
        k, v = (F.linear(cross.tokens, rows[0][i], rows[1][i]) for i in (1, 2))
        q, k = normed(block.attn.q_norm, q), normed(block.attn.k_norm, k)
        return x + attention(block, q, *(t.expand(len(x), -1, -1) for t in (k, v)))

    def attn(block, n):
        q, k, v = linear(block.attn.qkv, n).chunk(3, -1)
        return attention(block, normed(block.attn.q_norm, q), normed(block.attn.k_norm, k), v)

    def normed(layer, t):
        return torch.cat([norm(layer, head) for head in t.chunk(HEADS, -1)], -1)

    return branches(block, x, attn, middle=read)


def ia3(block, x):
    def attn(block, n):
        q, k, v = linear(block.attn.qkv, n).chunk(3, -1)
        of_k, of_v = block.attn.qkv.gains
        return attention(block, q, of_k * k, of_v * v)

    def feed(block, n):
        hidden = block.mlp.fc2.gain * F.gelu(linear(block.mlp.fc1, n))
        return linear(block.mlp.fc2, hidden)

    return branches(block, x, attn, feed)


def ssf(block, x):
    def scaled(module, out):
        return out * module.scale + module.shift

    def attn(block, n):
        n = scaled(block.norm1, n)
        q, k, v = scaled(block.attn.qkv, linear(block.attn.qkv, n)).chunk(3, -1)
        return scaled(block.attn.proj, attention(block, q, k, v))

    def feed(block, n):
        fc1, fc2 = block.mlp.fc1, block.mlp.fc2
        hidden = F.gelu(scaled(fc1, linear(fc1, scaled(block.norm2, n))))
        return scaled(fc2, linear(fc2, hidden))

    return branches(block, x, attn, feed)


def diffit(block, x):
    return branches(
        block,
        x,
        lambda block, n: block.attn.gamma * self_attention(block, n),
        lambda block, n: block.mlp.gamma * mlp(block, n),
    )


def glora(block, x):
    def changed(layer, x):
        p, w = layer.support, layer._parameters["weight"]
        weight = w + w * (p["a_up"] @ p["a_down"]) + p["b_up"] @ p["b_down"]
        return x @ weight.T + w @ p["c"] + p["d"] * layer.bias + p["e"] + layer.bias

    def attn(block, n):
        q, k, v = changed(block.attn.qkv, n).chunk(3, -1)
        heads = zip(*(t.chunk(HEADS, -1) for t in (q, k, v)), strict=True)
        read = [(a @ b.mT / (D / HEADS) ** 0.5).softmax(-1) @ c for a, b, c in heads]
        return changed(block.attn.proj, torch.cat(read, -1))

    return branches(block, x, attn, lambda b, n: changed(b.mlp.fc2, F.gelu(changed(b.mlp.fc1, n))))


def noah(block, x):
    inside = torch.cat([x, block.prompts.expand(len(x), -1, -1)], 1)

    def attn(block, n):
        layer, (of_q, of_v) = block.attn.qkv, block.attn.qkv.lora_b
        q, k, v = linear(layer, n).chunk(3, -1)
        a = layer.lora_a
        return attention(block, q + n @ a[0].T @ of_q.T, k, v + n @ a[1].T @ of_v.T)

    def feed(block, n):
        y = mlp(block, n)
        return y + bottleneck(block.mlp.adapter, y, F.relu)

    return branches(block, inside, attn, feed)[:, : x.shape[1]]


FORMULAS = {
    "adaptformer(bottleneck=4)": adaptformer,
    "houlsby(bottleneck=4)": houlsby,
    "pfeiffer(bottleneck=4)": pfeiffer,
    "adapter_plus(bottleneck=4)": adapter_plus,
    "compacter(bottleneck=8,terms=4)": compacter,
    "arc(bottleneck=4)": arc,
    "repadapter(bottleneck=4,groups=2,scale=2.0)": repadapter,
    "convpass(bottleneck=4,scale=2.0)": convpass,
    "mona(bottleneck=4)": mona,
    "prefix(prompts=3)": prefix,
    "e2vpt(prompts=3,keys=2)": e2vpt,
    "mam(prompts=3,bottleneck=4,scale=3.0)": mam,
    "ia3": ia3,
    "ssf": ssf,
    "diffit": diffit,
    "glora(rank=2)": glora,
    "noah(prompts=3,rank=2,bottleneck=4)": noah,
}


@pytest.mark.parametrize("spec", FORMULAS)
def test_a_block_computes_the_formula_of_the_paper(spec):
    block = attached(spec)
    x = torch.randn(2, 17, D, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(block(x), FORMULAS[spec](block, x), atol=1e-11)


def test_cross_attention_of_cvpt_norms_queries_and_keys_as_the_block_does():
    block = attached("cvpt(prompts=3)", qk_norm=True)
    x = torch.randn(2, 17, D, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(block(x), cvpt(block, x), atol=1e-11)


def test_weights_that_are_functions_of_frozen_ones():
    torch.manual_seed(0)
    weight = torch.randn(12, 20)

    def drawn(spec):
        update = build(spec).update(weight)
        for parameter in update.parameters():
            nn.init.normal_(parameter)
        return update

    u = drawn("lokr(rank=2,alpha=6)")
    assert (u.c.shape, u.b.shape, u.a.shape) == ((3, 4), (4, 2), (2, 5))
    assert torch.allclose(u(weight), weight + 3 * torch.kron(u.c, u.b @ u.a), atol=1e-5)
    u = drawn("lora_fa(rank=4,alpha=8)")
    assert torch.allclose(u(weight), weight + 2 * u.b @ u.a, atol=1e-5)
    u = drawn("randlora(rank=5,alpha=10)")
    terms = zip(u.b, u.vector_l, u.vector_g, strict=True)  # 3 bases of rank 5 span 12 rows
    update = sum(b @ torch.diag(left) @ u.a @ torch.diag(right) for b, left, right in terms)
    assert torch.allclose(u(weight), weight + 2 * update.T, atol=1e-4)
    u = drawn("shira(rank=1)")
    sparse = torch.zeros(240)
    sparse[u.places] = u.values
    assert torch.allclose(u(weight), weight + sparse.view(12, 20))
    assert len(set(u.places.tolist())) == 32
