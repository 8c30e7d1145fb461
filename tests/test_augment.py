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


def test_turned_colours_keep_their_brightness_and_grey_stays_grey():
    images, _ = batch()
    images = 0.3 + 0.4 * images  # away from black and white, where colours are cut
    weights = torch.tensor([0.299, 0.587, 0.114])
    policy = Augmentation(saturation=0.2, hue=0.1)
    changed, _ = augment(images, None, policy, torch.Generator().manual_seed(0))
    assert not torch.allclose(changed, images, atol=0.01)
    before, after = (torch.einsum("c,bchw->bhw", weights, x) for x in (images, changed))
    assert torch.allclose(before, after, atol=2e-3)
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    kept, _ = augment(grey, None, policy, torch.Generator().manual_seed(0))
    assert torch.allclose(kept, grey, atol=2e-3)


def test_a_hue_of_a_third_of_the_circle_moves_red_towards_green_or_blue():
    red = torch.zeros(8, 3, 4, 4)
    red[:, 0], red[:, 1:] = 0.6, 0.3
    changed, _ = augment(red, None, Augmentation(hue=1 / 3), torch.Generator().manual_seed(0))
    assert (changed.flatten(1).std(1) > 0.01).all()
    assert (changed[:, 1:].amax((1, 2, 3)) > changed[:, 0].amax((1, 2))).any()


def test_aspect_keeps_the_area():
    images = torch.zeros(32, 3, 64, 64)
    images[:, :, 24:40, 24:40] = 1.0
    changed, _ = augment(images, None, Augmentation(aspect=0.3), torch.Generator().manual_seed(0))
    wide = (changed[:, 0].amax(1) > 0.5).sum(1) / (changed[:, 0].amax(2) > 0.5).sum(1)
    assert wide.min() < 0.85
    assert wide.max() > 1.2
    assert torch.allclose(changed[:, 0].sum((1, 2)), torch.full((32,), 256.0), rtol=0.08)


def test_policies_draw_what_they_drew_when_records_were_made():
    # sums from before further changes were added: a record's key holds the name of the policy
    expected = {"flip": 1509.7339, "default": 1226.0371, "rotate": 1233.3093}
    for name, total in expected.items():
        assert abs(float(draw(policies[name], 3)[0].double().square().sum()) - total) < 1e-3, name
