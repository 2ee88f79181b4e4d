from typing import ClassVar

import pytest
import torch

from cyclegan_hf import CycleGANPipeline, ImageProcessor
from cyclegan_hf.models.generator_attention import AttentionGenerator
from tests.models.model_tester import GeneratorTester, count
from tests.testing_utils import make_picture


def make_tiny(**overrides: object) -> AttentionGenerator:
    torch.manual_seed(0)
    config = {"block_out_channels": (4, 8, 16), "num_res_blocks": 2, "reduction": 2}
    model = AttentionGenerator(**{**config, **overrides})
    torch.nn.init.constant_(model.attention.gain, 0.5)  # at 0, nothing in front of it would get a gradient
    return model


class TestAttentionGenerator(GeneratorTester):
    model_class = AttentionGenerator
    config: ClassVar = {"block_out_channels": (4, 8, 16), "num_res_blocks": 2, "reduction": 2}
    top_level_names: ClassVar = {"conv_in", "down_blocks", "mid_blocks", "attention", "up_blocks", "conv_out"}

    def make(self, **overrides: object) -> AttentionGenerator:
        return make_tiny(**overrides)

    @pytest.mark.parametrize(
        ("size", "expected"), [((254, 256), (256, 256)), ((33, 47), (36, 48)), ((16, 90), (16, 92))]
    )
    def test_sizes_are_rounded_up_to_the_multiple(self, size: tuple[int, int], expected: tuple[int, int]) -> None:
        model = self.make()
        assert (model.size_multiple, model.min_size) == (4, 16)
        with torch.no_grad():
            assert model(self.sample(1, size=size)).sample.shape[-2:] == expected

    @pytest.mark.parametrize("size", [256, 96])
    def test_blocks_work_at_a_quarter_of_the_size(self, size: int) -> None:
        model, shapes = self.make(num_codes=8), []
        for module in (model.quantizer, model.mid_blocks[0], model.attention):
            module.register_forward_hook(lambda _module, inputs, _output: shapes.append(inputs[0].shape))
        with torch.no_grad():
            assert model(self.sample(1, size=(size, size))).sample.shape == (1, 3, size, size)
        assert shapes == [(1, 16, size // 4, size // 4)] * 3

    def test_every_second_block_has_cbam(self) -> None:
        model = self.make(num_res_blocks=9)
        assert [block.channel_attention is not None for block in model.mid_blocks] == [False, True] * 4 + [False]
        assert [block.spatial_attention is not None for block in model.mid_blocks] == [False, True] * 4 + [False]

    def test_attention_depends_on_the_picture(self) -> None:
        # Behind an instance norm all means are 0: a squeeze there would weigh every picture alike.
        model, weights = self.make().eval(), []
        for name, module in model.named_modules():
            if name.endswith(("squeeze_excitation", "channel_attention", "spatial_attention")):
                module.register_forward_hook(lambda _module, _inputs, output: weights.append(output))
        with torch.no_grad():
            model(self.sample())
        assert len(weights) == 2 + 1 + 1
        for of_both in weights:
            first, second = of_both
            assert of_both.min() > 0 and of_both.max() < 1
            assert (first - second).abs().max() > 1e-3

    def test_self_attention_starts_silent(self) -> None:
        assert AttentionGenerator(**self.config).attention.gain == 0

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"block_out_channels": ()}, "`block_out_channels` must name at least one width, got an empty sequence"),
            ({"block_out_channels": (4, 24), "reduction": 16}, "multiple of `reduction`, got 24 channels and 16"),
            ({"block_out_channels": (4, 12), "reduction": 2}, "multiple of `reduction`, got 12 channels and 8"),
            ({"num_codes": 0}, "`num_codes` must be at least 1, got 0"),
        ],
    )
    def test_bad_settings(self, bad: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.make(**bad)


class TestWithCodes(GeneratorTester):
    model_class = AttentionGenerator
    config: ClassVar = {**TestAttentionGenerator.config, "num_codes": 8, "commitment_cost": 0.5}
    top_level_names: ClassVar = TestAttentionGenerator.top_level_names | {"quantizer"}

    def make(self, **overrides: object) -> AttentionGenerator:
        model = make_tiny(num_codes=8, commitment_cost=0.5, **overrides)
        with torch.no_grad():  # places the codes; nothing moves in the batches that follow
            model(self.sample(in_channels=model.config["in_channels"]))
        return model

    def test_dict_and_tuple_hold_the_same(self) -> None:
        model = self.make().eval()
        with torch.no_grad():
            as_tuple, as_dict = model(self.sample(), return_dict=False), model(self.sample())
        assert list(as_dict) == ["sample", "quantization_loss", "code_perplexity", "code_usage"]
        assert all(torch.equal(first, second) for first, second in zip(as_tuple, as_dict.values(), strict=True))
        assert as_dict.sample.shape == (2, 3, 32, 32)
        assert as_dict.quantization_loss > 0
        assert 1 < as_dict.code_perplexity <= 8
        assert 0 < as_dict.code_usage <= 1

    def test_gradients_reach_everything(self) -> None:
        model, sample = self.make(), self.sample().requires_grad_()
        output = model(sample)
        (output.sample.square().mean() + output.quantization_loss).backward()
        assert sample.grad.abs().sum() > 0
        for name, parameter in model.named_parameters():
            assert parameter.grad.isfinite().all(), name
            if not name.endswith("bias"):
                assert parameter.grad.abs().max() > 0, name

    def test_without_the_codes_loss_the_encoder_still_learns(self) -> None:
        model = self.make()
        model(self.sample()).sample.square().mean().backward()
        assert model.quantizer.codebook.grad is None
        assert model.conv_in[1].weight.grad.abs().max() > 0

    def test_bf16_is_near_fp32(self) -> None:
        # A position between two codes may go to the other one: most of the picture is near, not all of it.
        model, sample = self.make().eval(), self.sample()
        with torch.no_grad():
            expected = model(sample)
            output = model.to(torch.bfloat16)(sample.bfloat16())
        assert output.sample.dtype == torch.bfloat16
        assert (output.sample.float() - expected.sample).abs().mean() < 0.05
        assert output.quantization_loss.item() == pytest.approx(expected.quantization_loss.item(), rel=0.05)

    def test_the_compiled_form_is_the_same_function(self) -> None:
        torch.compiler.reset()
        model = self.make().eval()
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        for ours, theirs in zip(compiled(self.sample()).values(), model(self.sample()).values(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)

    def test_translation_repeats_itself_and_leaves_the_model_alone(self) -> None:
        model = self.make().train()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        processor = ImageProcessor(size=(32, 32))
        pipeline = CycleGANPipeline(generator_a2b=model, image_processor_a=processor, image_processor_b=processor)
        first, second = (
            pipeline(make_picture("A", seed=0, size=32), direction="a2b", output_type="pt").images[0] for _ in range(2)
        )
        assert torch.equal(first, second)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        assert model.training


# ResNet with 9 blocks 11,378,179; at 256 channels a squeeze-and-excitation has 2 · 256 · 16 = 8,192 weights, like a
# channel attention; a spatial attention 2 · 7 · 7 = 98; self-attention 4 · 256 · 32 + 1 = 32,769.
PARAMETERS = 11_378_179 + 9 * 8_192 + 4 * (8_192 + 98) + 32_769


@pytest.mark.parametrize(
    ("config", "parameters", "tensor_count"),
    [
        # 48 of the ResNet, 2 a squeeze-and-excitation, 3 a CBAM, 5 of self-attention.
        ({}, PARAMETERS, 48 + 9 * 2 + 4 * 3 + 5),
        ({"num_codes": 512}, PARAMETERS + 512 * 256, 83 + 2),  # the codebook, and the count of its use
    ],
)
def test_sizes(config: dict, parameters: int, tensor_count: int) -> None:
    assert PARAMETERS == 11_517_836
    assert count(AttentionGenerator, **config) == (parameters, tensor_count)
