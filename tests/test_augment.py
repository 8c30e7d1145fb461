import torch

from benchmark.augment import Augmentation, augment, policies
from benchmark.data.base import IGNORE


def batch(side=16):
    torch.manual_seed(0)
    images = torch.rand(6, 3, side, side)
    return images, (images[:, 0] > 0.5).to(torch.uint8)


def draw(policy, number=0):
    images, masks = batch()
    return augment(images, masks, policy, torch.Generator().manual_seed(number))


def test_none_changes_nothing():
    images, masks = batch()
    changed, moved = draw(policies["none"])
    assert torch.equal(changed, images)
    assert torch.equal(moved, masks)


def test_a_flip_is_an_exact_mirror_of_some_images_and_their_masks():
    images, masks = batch()
    changed, moved = draw(Augmentation(flip=True))
    mirrored = [
        torch.allclose(c, i.flip(-1), atol=1e-5) for c, i in zip(changed, images, strict=True)
    ]
    same = [torch.allclose(c, i, atol=1e-5) for c, i in zip(changed, images, strict=True)]
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
    changed, moved = augment(images, masks, policy, torch.Generator().manual_seed(0))
    inside = moved != IGNORE
    agreement = ((changed[:, 0] > 0.5) == (moved == 1))[inside].float().mean()
    assert agreement > 0.98
    assert (moved == IGNORE).any()  # what comes from outside the image is not background
    assert set(moved.unique().tolist()) <= {0, 1, IGNORE}


def test_values_stay_in_range():
    changed, _ = draw(Augmentation(contrast=0.9))
    assert changed.min() >= 0
    assert changed.max() <= 1
