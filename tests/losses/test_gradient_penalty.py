"""The gradient penalty: closed forms, every discriminator, mixed precision, compilation, resuming."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from cyclegan_hf.losses.gradient_penalty import gradient_penalty
from cyclegan_hf.losses.relativistic import dual_head_score
from cyclegan_hf.models.discriminator_dual_head import DualHeadDiscriminator
from cyclegan_hf.models.discriminator_patch import PatchDiscriminator
from cyclegan_hf.models.discriminator_pixel import PixelDiscriminator


DISCRIMINATORS: dict[str, Callable[[], nn.Module]] = {
    "patch": lambda: PatchDiscriminator(block_out_channels=(4, 8)),
    "patch, no norm": lambda: PatchDiscriminator(block_out_channels=(4, 8), norm_type="none"),
    "patch, tanh": lambda: PatchDiscriminator(block_out_channels=(4, 8), output_activation="tanh"),
    "patch, three channels": lambda: PatchDiscriminator(out_channels=3, block_out_channels=(4, 8)),
    "pixel": lambda: PixelDiscriminator(block_out_channels=(4, 8)),
    "two heads": lambda: DualHeadDiscriminator(block_out_channels=(4, 8)),
    "two blocks, one head": lambda: DualHeadDiscriminator(block_out_channels=(4, 8), use_global_head=False),
}


def critic(discriminator: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    def score(pictures: torch.Tensor) -> torch.Tensor:
        output = discriminator(pictures)
        return output.prediction if output.global_logits is None else dual_head_score(*output.to_tuple()[:2])

    return score


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.rand(2, 2, 3, 16, 16) * 2 - 1)


def linear(weights: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda pictures: (pictures * weights).sum((1, 2, 3))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([3.0, 4.0], 16.0),  # the gradient is (3, 4) everywhere, of length 5: (5 - 1)²
        ([0.6, 0.8], 0.0),  # of length 1
        ([0.0, 0.5], 0.25),
        ([0.0, 0.0], 1.0),
    ],
)
def test_a_linear_critic(weights: list[float], expected: float) -> None:
    real, fake = torch.randn(2, 5, 1, 1, 2).unbind()
    penalty = gradient_penalty(linear(torch.tensor(weights)), real, fake)
    assert penalty.shape == ()
    assert penalty.item() == pytest.approx(expected, abs=1e-6)


def test_its_gradient_is_that_of_the_closed_form() -> None:
    # d/dw (‖w‖ - 1)² = 2 (‖w‖ - 1) w / ‖w‖ = 2 · 4 · (3, 4) / 5 = (4.8, 6.4).
    weights = torch.tensor([3.0, 4.0], requires_grad=True)
    gradient_penalty(linear(weights), *torch.randn(2, 5, 1, 1, 2)).backward()
    assert weights.grad.tolist() == pytest.approx([4.8, 6.4])


def test_a_critic_that_says_nothing_has_a_finite_gradient() -> None:
    weights = torch.zeros(2, requires_grad=True)  # ‖w‖ has no derivative here
    gradient_penalty(linear(weights), *torch.randn(2, 5, 1, 1, 2)).backward()
    assert weights.grad.tolist() == [0, 0]


def test_each_picture_has_its_own_place_between_real_and_fake() -> None:
    # The critic ½‖x‖² has the gradient x. Between real (10, 0) and fake (0, 0) that is (10 ε, 0): its length is 10 ε.
    real = torch.tensor([10.0, 0.0]).expand(4, 1, 1, 2)
    shares = torch.rand(4, 1, 1, 1, generator=torch.Generator().manual_seed(3)).flatten()
    expected = (10 * shares - 1).square().mean()
    assert shares.unique().numel() == 4
    penalty = gradient_penalty(
        lambda x: 0.5 * x.square().sum((1, 2, 3)), real, torch.zeros(4, 1, 1, 2), torch.Generator().manual_seed(3)
    )
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_patch_critic_has_the_mean_of_its_patches_for_a_score() -> None:
    # Four patches of 1×1, each 8 times its pixel; their mean has the gradient 2 at each of four pixels, of length 4.
    penalty = gradient_penalty(lambda x: 8 * x, *torch.randn(2, 3, 1, 2, 2))
    assert penalty.item() == pytest.approx(9.0)


@pytest.mark.parametrize("name", DISCRIMINATORS)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp32", "autocast"])
def test_every_discriminator_learns_from_it(
    name: str, dtype: torch.dtype | None, pictures: tuple[torch.Tensor, torch.Tensor]
) -> None:
    discriminator = DISCRIMINATORS[name]()
    score = critic(discriminator)
    real, fake = (x.requires_grad_() for x in pictures)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        penalty = gradient_penalty(score, real, fake, torch.Generator().manual_seed(0))
        assert penalty.dtype == torch.float32
        penalty.backward()
    assert real.grad is None and fake.grad is None
    first = next(parameter for name, parameter in discriminator.named_parameters() if "weight" in name)
    assert first.grad.abs().max() > 0
    for parameter in discriminator.parameters():  # biases in front of a norm have none
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_the_second_derivative_is_that_of_finite_differences() -> None:
    discriminator = PatchDiscriminator(block_out_channels=(2, 3)).double()
    real, fake = torch.rand(2, 2, 3, 12, 12, dtype=torch.float64).unbind()

    def penalty() -> torch.Tensor:
        # The pictures come as fp32: they are drawn so, and the discriminator's arithmetic is double from there.
        return gradient_penalty(
            lambda x: discriminator(x.double()).prediction, real, fake, torch.Generator().manual_seed(0)
        )

    weight = discriminator.conv_in[0].weight
    direction = torch.randn_like(weight)
    penalty().backward()
    with torch.no_grad():
        weight += 1e-4 * direction
        above = penalty().item()
        weight -= 2e-4 * direction
        below = penalty().item()
    assert (weight.grad * direction).sum().item() == pytest.approx((above - below) / 2e-4, rel=1e-2)


@pytest.mark.parametrize("name", ["patch", "two heads"])
def test_autocast_changes_nothing(name: str, pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    discriminator = DISCRIMINATORS[name]().eval()  # spectral norms move in training
    score = critic(discriminator)
    plain = gradient_penalty(score, *pictures, torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        discriminator(pictures[0])  # the weights that autocast keeps in half precision are not used either
        mixed = gradient_penalty(score, *pictures, torch.Generator().manual_seed(0))
        half = gradient_penalty(score, *(x.bfloat16() for x in pictures), torch.Generator().manual_seed(0))
    assert mixed.item() == plain.item()
    assert half.item() == pytest.approx(plain.item(), rel=0.02)  # only the pictures are rounded


def test_a_compiled_discriminator_runs_uncompiled(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    discriminator = PatchDiscriminator(block_out_channels=(4, 8), norm_type="none")
    penalty = gradient_penalty(critic(discriminator), *pictures, torch.Generator().manual_seed(0))
    compiled = torch.compile(discriminator, backend="aot_eager")
    assert compiled(pictures[0]).prediction.grad_fn.name() == "CompiledFunctionBackward"
    again = gradient_penalty(critic(compiled), *pictures, torch.Generator().manual_seed(0))
    again.backward()  # "does not currently support double backward", compiled
    assert again.item() == penalty.item()
    assert compiled(pictures[0]).prediction.grad_fn.name() == "CompiledFunctionBackward"  # as before


def test_a_restored_generator_goes_on_exactly_and_no_other_is_touched(
    pictures: tuple[torch.Tensor, torch.Tensor],
) -> None:
    score = critic(PatchDiscriminator(block_out_channels=(4, 8)))
    random, everyone = torch.Generator().manual_seed(7), torch.get_rng_state()
    first = gradient_penalty(score, *pictures, random)
    state = random.get_state()
    second = gradient_penalty(score, *pictures, random)
    restored = torch.Generator()
    restored.set_state(state)
    assert gradient_penalty(score, *pictures, restored).item() == second.item()
    assert first.item() != second.item()
    assert torch.equal(torch.get_rng_state(), everyone)


def test_a_validation_loss_without_gradients(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    score = critic(PatchDiscriminator(block_out_channels=(4, 8)))
    expected = gradient_penalty(score, *pictures, torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = gradient_penalty(score, *pictures, torch.Generator().manual_seed(0))
    assert found.item() == expected.item()


def test_spectral_norm_bounds_the_gradient(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    # One linear layer of spectral norm 1 on 768 pixels: its gradient's length is 1 after enough power iterations.
    discriminator = nn.Sequential(nn.Flatten(), spectral_norm(nn.Linear(768, 1), n_power_iterations=5))
    assert gradient_penalty(discriminator, *pictures).item() == pytest.approx(0, abs=1e-6)


def test_pictures_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \(2, 3, 4, 4\) and \(1, 3, 4, 4\)"):
        gradient_penalty(lambda x: x, torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4))
