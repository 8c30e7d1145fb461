import pytest
import torch
from torch.nn import functional as F

from benchmark.data.base import IGNORE
from benchmark.training import augment, pixels
from benchmark.training.augment import Augmentation, change, change_masks, draws, policies


def batch(side=16):
    torch.manual_seed(0)
    images = torch.rand(6, 3, side, side)
    return images, (images[:, 0] > 0.5).to(torch.uint8)


def changed(images, masks, policy, number=0):
    draw = draws(len(images), torch.Generator().manual_seed(number))
    moved = None if masks is None else change_masks(masks, policy, draw)
    return change(images, policy, draw), moved


def draw(policy, number=0):
    images, masks = batch()
    return changed(images, masks, policy, number)


def test_none_changes_nothing():
    images, masks = batch()
    kept, moved = draw(policies["none"])
    assert torch.equal(kept, images)
    assert torch.equal(moved, masks)


def test_a_flip_is_an_exact_mirror_of_some_images_and_their_masks():
    images, masks = batch()
    flipped, moved = draw(Augmentation(flip=True))
    mirrored = [
        torch.allclose(c, i.flip(-1), atol=1e-5) for c, i in zip(flipped, images, strict=True)
    ]
    same = [torch.allclose(c, i, atol=1e-5) for c, i in zip(flipped, images, strict=True)]
    assert any(mirrored)
    assert any(same)
    assert all(m or s for m, s in zip(mirrored, same, strict=True))
    expected = torch.stack([k.flip(-1) if m else k for k, m in zip(masks, mirrored, strict=True)])
    assert torch.equal(moved, expected)


def test_same_generator_same_images_other_generator_other_images():
    policy = policies["default"]
    assert torch.equal(draw(policy, 1)[0], draw(policy, 1)[0])
    assert not torch.equal(draw(policy, 1)[0], draw(policy, 2)[0])


def test_masks_move_with_their_images():
    images, masks = torch.zeros(64, 3, 32, 32), torch.zeros(64, 32, 32, dtype=torch.uint8)
    images[:, :, 12:20, 6:14], masks[:, 12:20, 6:14] = 1.0, 1
    policy = Augmentation(flip=True, degrees=30, scale=0.2, shift=0.1)
    shown, moved = changed(images, masks, policy)
    inside = moved != IGNORE
    agreement = ((shown[:, 0] > 0.5) == (moved == 1))[inside].float().mean()
    assert agreement > 0.98
    assert (moved == IGNORE).any()  # what comes from outside the image is not background
    assert set(moved.unique().tolist()) <= {0, 1, IGNORE}


def test_values_stay_in_range():
    shown, _ = draw(Augmentation(contrast=0.9))
    assert shown.min() >= 0
    assert shown.max() <= 1


def test_turned_colours_keep_their_brightness_and_grey_stays_grey():
    images, _ = batch()
    images = 0.3 + 0.4 * images  # away from black and white, where colours are cut
    weights = torch.tensor([0.299, 0.587, 0.114])
    policy = Augmentation(saturation=0.2, hue=0.1)
    shown, _ = changed(images, None, policy)
    assert not torch.allclose(shown, images, atol=0.01)
    before, after = (torch.einsum("c,bchw->bhw", weights, x) for x in (images, shown))
    assert torch.allclose(before, after, atol=2e-3)
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    kept, _ = changed(grey, None, policy)
    assert torch.allclose(kept, grey, atol=2e-3)


def test_a_hue_of_a_third_of_the_circle_moves_red_towards_green_or_blue():
    red = torch.zeros(8, 3, 4, 4)
    red[:, 0], red[:, 1:] = 0.6, 0.3
    shown, _ = changed(red, None, Augmentation(hue=1 / 3))
    assert (shown.flatten(1).std(1) > 0.01).all()
    assert (shown[:, 1:].amax((1, 2, 3)) > shown[:, 0].amax((1, 2))).any()


def test_aspect_keeps_the_area():
    images = torch.zeros(32, 3, 64, 64)
    images[:, :, 24:40, 24:40] = 1.0
    shown, _ = changed(images, None, Augmentation(aspect=0.3))
    wide = (shown[:, 0].amax(1) > 0.5).sum(1) / (shown[:, 0].amax(2) > 0.5).sum(1)
    assert wide.min() < 0.85
    assert wide.max() > 1.2
    assert torch.allclose(shown[:, 0].sum((1, 2)), torch.full((32,), 256.0), rtol=0.08)


def test_policies_draw_what_they_drew_when_records_were_made():
    # sums from before further changes were added: a record's key holds the name of the policy
    expected = {"flip": 1509.7339, "default": 1226.0371, "rotate": 1233.3093}
    for name, total in expected.items():
        assert abs(float(draw(policies[name], 3)[0].double().square().sum()) - total) < 1e-3, name


def reference(images, policy, draw):
    """Return what `change` does to whole batches of floats with torch's own grid."""
    matrices = augment._matrices(draw.T * 2 - 1, policy)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    factor = 1 + policy.contrast * (draw[5:7] * 2 - 1)[:, :, None, None, None]
    mean = moved.mean((1, 2, 3), keepdim=True)
    return (((moved - mean) * factor[0] + mean) * factor[1]).clamp(0, 1)


@pytest.mark.parametrize("slice_of", [1, 700, 1 << 20])
@pytest.mark.parametrize("channels", [1, 3])
def test_slices_of_bytes_are_changed_as_whole_batches_of_floats(monkeypatch, slice_of, channels):
    monkeypatch.setattr(pixels, "SLICE", slice_of)
    torch.manual_seed(0)
    images = torch.randint(256, (7, channels, 20, 20), dtype=torch.uint8)
    draw, policy = draws(7, torch.Generator().manual_seed(0)), policies["default"]
    found = change(images, policy, draw, lambda part: part * 2)
    expected = reference(images / 255, policy, draw) * 2
    assert torch.allclose(found, expected, atol=2e-4)  # positions of images differ by 1e-6


def test_one_channel_is_changed_as_three_equal_ones():
    torch.manual_seed(0)
    grey = torch.randint(256, (5, 1, 24, 24), dtype=torch.uint8)
    draw = draws(5, torch.Generator().manual_seed(0))
    for name in policies:
        one, three = (change(g, policies[name], draw) for g in (grey, grey.expand(-1, 3, -1, -1)))
        assert torch.allclose(one.expand(-1, 3, -1, -1), three, atol=2e-3), name  # hue rounds


@pytest.mark.parametrize("slice_of", [1, 1000, 1 << 20])
def test_normalized_is_the_plain_formula_bit_for_bit(monkeypatch, slice_of):
    monkeypatch.setattr(pixels, "SLICE", slice_of)
    images = torch.randint(256, (5, 3, 9, 9), dtype=torch.uint8)
    mean, std = pixels.statistics("0.485,0.456,0.406/0.229,0.224,0.225", torch.device("cpu"))
    floats = images.float() / 255
    expected, kept = (floats - mean) / std, floats.clone()
    assert torch.equal(pixels.normalized(images, mean, std), expected)
    assert torch.equal(pixels.normalized(floats, mean, std), expected)
    assert torch.equal(floats, kept)
    grey = pixels.normalized(images[:, :1], mean, std)
    assert torch.equal(grey, pixels.normalized(images[:, :1].expand(-1, 3, -1, -1), mean, std))
