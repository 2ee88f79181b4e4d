from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch.nn import functional as F

from cyclegan_hf.models.discriminator_dual_head import DualHeadDiscriminator
from tests.models.model_tester import ModelTester, count, tensors


def all_scores(model: DualHeadDiscriminator, sample: torch.Tensor) -> torch.Tensor:
    """The sum over pictures of the report's mix of both heads, which its gradient penalty is of."""
    output = model(sample)
    score = 0.7 * output.prediction.mean(dim=(1, 2, 3))
    if output.global_logits is not None:
        score = score + 0.3 * output.global_logits[:, 0]
    return score.sum()


def gradient_penalty(model: DualHeadDiscriminator, sample: torch.Tensor) -> torch.Tensor:
    sample = sample.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(all_scores(model, sample), sample, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def weight_gradients(model: DualHeadDiscriminator) -> torch.Tensor:
    return torch.cat([p.grad.float().flatten() for n, p in model.named_parameters() if not n.endswith("bias")])


class TestDualHeadDiscriminator(ModelTester):
    model_class = DualHeadDiscriminator
    config: ClassVar = {"block_out_channels": (4, 6, 8)}
    top_level_names: ClassVar = {"blocks", "patch_head", "global_head"}
    variants: ClassVar = [{"use_global_head": False}]

    def test_dict_and_tuple_hold_the_same(self) -> None:
        for use_global_head in (True, False):
            model = self.make(use_global_head=use_global_head).eval()
            with torch.no_grad():
                prediction, global_logits, features = model(self.sample(), return_dict=False)
                output = model(self.sample())
            assert torch.equal(output[0], prediction)
            assert torch.equal(output.prediction, prediction)
            assert torch.equal(output.features, features)
            if use_global_head:
                assert torch.equal(output.global_logits, global_logits)
            else:
                assert output.global_logits is global_logits is None

    def test_gradients_reach_everything(self) -> None:
        for variant in [{}, *self.variants]:
            model, sample = self.make(**variant), self.sample().requires_grad_()
            all_scores(model, sample).backward()
            assert sample.grad.abs().sum() > 0
            for name, parameter in model.named_parameters():
                assert parameter.grad.isfinite().all(), name
                if not name.endswith("bias"):
                    assert parameter.grad.abs().max() > 0, name

    def test_the_compiled_form_is_the_same_function(self) -> None:
        torch.compiler.reset()
        # In training too, where each pass moves the singular vectors.
        for training in (False, True):
            eager, compiled = self.make().train(training), self.make().train(training)
            run = torch.compile(compiled, backend="eager")
            for _ in range(2):
                all_scores(eager, self.sample()).backward()
                all_scores(run, self.sample()).backward()
            largest = weight_gradients(eager).abs().max().item()
            torch.testing.assert_close(
                weight_gradients(compiled), weight_gradients(eager), rtol=0, atol=1e-4 * largest
            )
            ours, theirs = tensors(compiled), tensors(eager)
            for name in ours:
                torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-5, msg=name)

    @pytest.mark.parametrize(
        ("widths", "size", "sides"),
        [((4, 6, 8, 10), (256, 256), (16, 16)), ((4, 6, 8), (96, 96), (12, 12)), ((4, 6), (33, 50), (8, 12))],
    )
    def test_shapes(self, widths: tuple[int, ...], size: tuple[int, int], sides: tuple[int, int]) -> None:
        with torch.no_grad():
            output = self.make(block_out_channels=widths)(self.sample(size=size))
        assert output.features.shape == (2, widths[-1], *sides)
        assert output.prediction.shape == (2, 1, *sides)
        assert output.global_logits.shape == (2, 1)

    @pytest.mark.parametrize("in_channels", [1, 4])
    def test_channels(self, in_channels: int) -> None:
        with torch.no_grad():
            assert self.make(in_channels=in_channels)(self.sample(in_channels=in_channels)).prediction.isfinite().all()

    @pytest.mark.parametrize("widths", [(4,), (4, 6, 8), (4, 6, 8, 8)])
    def test_nothing_smaller_than_the_smallest_size_works(self, widths: tuple[int, ...]) -> None:
        model = self.make(block_out_channels=widths)
        assert model(self.sample(size=(model.min_size,) * 2)).features.shape[-2:] == (2, 2)
        with pytest.raises(ValueError):
            model(self.sample(size=(model.min_size - 1,) * 2))

    def test_the_heads_stand_on_the_features(self) -> None:
        model = self.make().eval()
        with torch.no_grad():
            output = model(self.sample())
            prediction = F.conv2d(output.features, model.patch_head.weight, model.patch_head.bias, padding=1)
            mean = output.features.mean(dim=(2, 3))
            global_logits = mean @ model.global_head.weight.T + model.global_head.bias
        torch.testing.assert_close(output.prediction, prediction)
        torch.testing.assert_close(output.global_logits, global_logits)

    def test_training_brings_the_spectral_norm_of_each_convolution_to_1(self) -> None:
        model = self.make()
        for _ in range(100):
            model(self.sample(1))
        model.eval()
        for block in model.blocks:
            assert torch.linalg.svdvals(block[0].weight.flatten(1))[0].item() == pytest.approx(1.0, abs=1e-3)

    def test_only_training_moves_the_singular_vectors(self) -> None:
        model = self.make()
        model(self.sample())
        before = tensors(model)
        model.eval()(self.sample())
        assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(model).items())
        model.train()(self.sample())
        moved = {name for name, tensor in tensors(model).items() if not torch.equal(tensor, before[name])}
        assert moved >= {f"blocks.{i}.0.parametrizations.weight.0._u" for i in range(3)}
        assert all(name.endswith(("._u", "._v")) for name in moved)

    @pytest.mark.parametrize("low_cpu_mem_usage", [True, False])
    def test_loading_fills_what_was_built_without_memory(self, low_cpu_mem_usage: bool, tmp_path: Path) -> None:
        model = self.make()
        model(self.sample())
        model.eval().save_pretrained(tmp_path)
        loaded = DualHeadDiscriminator.from_pretrained(tmp_path, low_cpu_mem_usage=low_cpu_mem_usage)
        assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])
        with torch.no_grad():
            assert torch.equal(loaded(self.sample()).prediction, model(self.sample()).prediction)
            # Training goes on from there as well: the same power iteration.
            assert torch.equal(loaded.train()(self.sample()).features, model.train()(self.sample()).features)

    @pytest.mark.parametrize("use_global_head", [True, False])
    def test_the_gradient_has_the_right_gradient(self, use_global_head: bool) -> None:
        model = self.make(block_out_channels=(2, 3), use_global_head=use_global_head).double().eval()
        sample = self.sample(1, size=(8, 8)).double().requires_grad_()
        assert torch.autograd.gradgradcheck(lambda picture: all_scores(model, picture), (sample,))

    def test_gradient_penalty_under_autocast_is_near_fp32s(self) -> None:
        plain, mixed = self.make(), self.make()
        penalty = gradient_penalty(plain, self.sample())
        penalty.backward()
        with torch.autocast("cpu", torch.bfloat16):
            penalty_mixed = gradient_penalty(mixed, self.sample())
        penalty_mixed.backward()
        assert penalty_mixed.item() == pytest.approx(penalty.item(), rel=0.02)
        # No gradient reaches the heads' biases: the slope does not depend on them.
        biases = {name for name, parameter in plain.named_parameters() if parameter.grad is None}
        assert biases == {"patch_head.bias", "global_head.bias"}
        assert F.cosine_similarity(weight_gradients(mixed), weight_gradients(plain), dim=0) > 0.99

    def test_bad_settings(self) -> None:
        with pytest.raises(ValueError, match="`block_out_channels` must name at least one width, got an empty"):
            self.make(block_out_channels=())


@pytest.mark.parametrize(
    ("config", "parameters", "tensor_count"),
    [
        # Convolutions 16 · 3 · 64 + 64 = 3,136; 16 · 64 · 128 + 128 = 131,200; 16 · 128 · 256 + 256 = 524,544;
        # 16 · 256 · 512 + 512 = 2,097,664. Heads 9 · 512 + 1 = 4,609 and 512 + 1 = 513. A bias, a weight and two
        # vectors a convolution, two tensors a head.
        ({}, 3_136 + 131_200 + 524_544 + 2_097_664 + 4_609 + 513, 4 * 4 + 2 * 2),
        # 9 · 256 + 1 = 2,305 for the patches.
        (
            {"block_out_channels": (64, 128, 256), "use_global_head": False},
            3_136 + 131_200 + 524_544 + 2_305,
            3 * 4 + 2,
        ),
    ],
)
def test_sizes(config: dict, parameters: int, tensor_count: int) -> None:
    assert parameters in (2_761_666, 661_185)
    assert count(DualHeadDiscriminator, **config) == (parameters, tensor_count)
