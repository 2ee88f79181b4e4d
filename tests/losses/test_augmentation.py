"""Augmentation of what discriminators see."""

import pytest
import torch

from cyclegan_hf.losses.augmentation import Policy, augment_for_discriminator


POLICIES: list[Policy] = ["flip", "light", "color", "translation", "cutout"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("policies", [[], *([policy] for policy in POLICIES), POLICIES])
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_type_stay_and_the_gradient_passes(policies: list[Policy], channels: int) -> None:
    images = (torch.rand(4, channels, 16, 24, generator=seeded()) - 0.5).requires_grad_()
    out = augment_for_discriminator(images, policies, seeded())
    assert out.shape == images.shape and out.dtype == images.dtype
    out.square().sum().backward()
    assert images.grad is not None and images.grad.isfinite().all() and images.grad.abs().sum() > 0
    assert torch.equal(out, images) == (policies == [])


@pytest.mark.parametrize("policy", POLICIES)
def test_the_generator_alone_decides(policy: Policy) -> None:
    images = torch.rand(4, 3, 16, 24)
    first = augment_for_discriminator(images, [policy], seeded(1))
    assert torch.equal(first, augment_for_discriminator(images, [policy], seeded(1)))
    assert not torch.equal(first, augment_for_discriminator(images, [policy], seeded(2)))


@pytest.mark.parametrize("policy", POLICIES)
def test_each_picture_of_a_batch_has_its_own(policy: Policy) -> None:
    images = torch.rand(1, 3, 32, 32).expand(8, -1, -1, -1)
    out = augment_for_discriminator(images, [policy], seeded())
    assert len({tuple(picture.flatten().tolist()) for picture in out}) > 1


def test_colours_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # Brightness 0.7 - 0.5 = 0.2, saturation 2 · 0.25 = 0.5, contrast 0.5 + 0.5 = 1. Pixels (0.5, 0.2, -0.1) and
    # (0, 0, 0) become (0.7, 0.4, 0.1) and (0.2, 0.2, 0.2); half as far from their grey 0.4 and 0.2.
    draws = torch.tensor([0.7, 0.25, 0.5]).view(3, 1, 1, 1, 1)
    monkeypatch.setattr(torch, "rand", lambda *size, generator: draws)
    images = torch.tensor([[0.5, 0.0], [0.2, 0.0], [-0.1, 0.0]]).view(1, 3, 1, 2)
    expected = torch.tensor([[0.55, 0.2], [0.4, 0.2], [0.25, 0.2]]).view(1, 3, 1, 2)
    torch.testing.assert_close(augment_for_discriminator(images, ["color"]), expected)
    # Contrast 1.5: half as far again from the mean of all, 0.3.
    draws[2] = 1.0
    torch.testing.assert_close(augment_for_discriminator(images, ["color"]), 0.3 + 1.5 * (expected - 0.3))


def test_translations_reach_an_eighth_and_fill_with_grey() -> None:
    images = torch.arange(1.0, 16 * 24 + 1).view(1, 1, 16, 24).expand(200, -1, -1, -1)
    found = set()
    for picture in augment_for_discriminator(images, ["translation"], seeded()):
        first = picture[0].nonzero()[0].tolist()  # of what is left of the picture
        value = int(picture[0][tuple(first)]) - 1
        shift = (first[0] - value // 24, first[1] - value % 24)
        found.add(shift)
        assert (picture[0] != 0).sum() == (16 - abs(shift[0])) * (24 - abs(shift[1]))
    assert {y for y, _ in found} == set(range(-2, 3)) and {x for _, x in found} == set(range(-3, 4))


def test_cutout_hides_a_quarter_or_what_of_it_is_inside() -> None:
    out = augment_for_discriminator(torch.ones(200, 3, 16, 24), ["cutout"], seeded())
    hidden = (out == 0).float().mean(dim=(1, 2, 3))
    assert hidden.max() == 0.25 and 0.25 / 4 <= hidden.min() < 0.1
    assert ((out == 0).any(dim=1) == (out == 0).all(dim=1)).all()  # all channels at once


def test_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"translation.*blur"):
        augment_for_discriminator(torch.zeros(1, 3, 8, 8), ["blur"])  # type: ignore[list-item]


def test_a_flip_mirrors_whole_images_and_light_keeps_hues() -> None:
    images = torch.rand(32, 3, 8, 8) - 0.5
    flipped = augment_for_discriminator(images, ["flip"], seeded())
    mirrored = [torch.equal(one, other.flip(-1)) for one, other in zip(flipped, images, strict=True)]
    assert 0 < sum(mirrored) < 32
    assert all(torch.equal(flipped[i], images[i]) for i in range(32) if not mirrored[i])
    lit = augment_for_discriminator(images, ["light"], seeded())
    assert (lit - images).abs().max() <= 0.1 + 0.1 * 0.5 + 1e-6
    difference = images[:, 0] - images[:, 1]
    ratio = (lit[:, 0] - lit[:, 1]) / difference
    assert ratio[difference.abs() > 0.01].min() > 0.89 and ratio[difference.abs() > 0.01].max() < 1.11
