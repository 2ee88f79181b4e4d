"""What every model must do, as a mixin: a test class names its model and a tiny config, and inherits the tests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from diffusers import ModelMixin
from torch import fx

from cyclegan_hf.models.layers import InstanceNorm2d, PixelNorm2d


def count(model_class: type[ModelMixin], **config: Any) -> tuple[int, int]:
    """Parameters and saved tensors of a model that is built without memory."""
    with torch.device("meta"):
        model = model_class(**config)
    return sum(parameter.numel() for parameter in model.parameters()), len(model.state_dict())


def tensors(model: ModelMixin) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def input_gradient(model: Callable[..., tuple[torch.Tensor]], sample: torch.Tensor) -> torch.Tensor:
    """The gradient of a fixed random combination of all outputs, with those of the parameters left in the model."""
    sample = sample.clone().requires_grad_()
    (output,) = model(sample, return_dict=False)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    (output * weights.to(output.dtype)).sum().backward()
    assert sample.grad is not None
    return sample.grad


class GraphRecorder:
    """A backend for `torch.compile` that runs what it is given, uncompiled, and keeps the operators' names."""

    def __init__(self) -> None:
        self.operators: set[str] = set()

    def __call__(self, graph: fx.GraphModule, _inputs: list[torch.Tensor]) -> Callable[..., Any]:
        for module in graph.modules():  # an autograd function's operators are in a graph of their own
            if isinstance(module, fx.GraphModule):
                self.operators |= {str(getattr(node.target, "__name__", node.target)) for node in module.graph.nodes}
        return graph.forward


class ModelTester:
    """Tests shared by all models; `input_size` is the (height, width) of the pictures they are given."""

    model_class: type[ModelMixin]
    config: ClassVar[dict[str, Any]]
    top_level_names: ClassVar[set[str]]
    variants: ClassVar[list[dict[str, Any]]] = []
    input_size: ClassVar[tuple[int, int]] = (32, 32)
    bf16_tolerance: ClassVar[float] = 0.1  # of outputs in [-1, 1] or about that

    def make(self, **overrides: Any) -> ModelMixin:
        torch.manual_seed(0)
        return self.model_class(**{**self.config, **overrides})

    def sample(self, batch_size: int = 2, in_channels: int = 3, size: tuple[int, int] | None = None) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.rand(batch_size, in_channels, *(size or self.input_size), generator=generator) * 2 - 1

    def test_saved_and_loaded_it_is_the_same(self, tmp_path: Path) -> None:
        for number, variant in enumerate([{}, *self.variants]):
            folder = tmp_path / str(number)
            model = self.make(**variant).eval()
            model.save_pretrained(folder)
            assert {file.name for file in folder.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
            loaded = self.model_class.from_pretrained(folder)
            assert not loaded.training
            ours, theirs = tensors(model), tensors(loaded)
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)
            sample = self.sample()
            with torch.no_grad():
                before, after = (network(sample, return_dict=False)[0] for network in (model, loaded))
            torch.testing.assert_close(
                after, before, rtol=0, atol=1e-6
            )  # sums may run otherwise where memory is aligned otherwise

    def test_config_goes_through_json(self) -> None:
        for variant in [{}, *self.variants]:
            model = self.make(**variant)
            config = json.loads(model.to_json_string())
            assert {key for key in config if not key.startswith("_")} >= self.config.keys()
            again = self.model_class.from_config(config)
            assert json.loads(again.to_json_string()) == config
            shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
            assert {name: tensor.shape for name, tensor in again.state_dict().items()} == shapes

    def test_an_unknown_argument_is_refused(self) -> None:
        with pytest.raises(TypeError, match="block_out_channel"):
            self.model_class(block_out_channel=(4, 8))

    def test_weights_have_readable_names(self) -> None:
        assert {name.split(".")[0] for name in self.make().state_dict()} == self.top_level_names

    def test_dict_and_tuple_hold_the_same(self) -> None:
        model = self.make().eval()
        with torch.no_grad():
            (as_tuple,) = model(self.sample(), return_dict=False)
            as_dict = model(self.sample())
        assert torch.equal(as_dict[0], as_tuple)
        assert next(iter(as_dict.values())) is as_dict[0]

    def test_gradients_reach_everything(self) -> None:
        for variant in [{}, *self.variants]:
            model = self.make(**variant)
            assert input_gradient(model, self.sample()).abs().sum() > 0
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name
                if name.endswith("weight"):  # a bias before an instance norm has no effect, hence no gradient
                    assert parameter.grad.abs().max() > 0, name

    def test_a_batch_gives_what_its_pictures_give(self) -> None:
        model, sample = self.make().eval(), self.sample(batch_size=3)
        with torch.no_grad():
            together = model(sample)[0]
            one_by_one = torch.cat([model(picture[None])[0] for picture in sample])
        torch.testing.assert_close(together, one_by_one, rtol=0, atol=1e-5)

    def test_smallest_size(self) -> None:
        model = self.make()
        smallest = (model.min_size, model.min_size)
        with torch.no_grad():
            assert model(self.sample(size=smallest))[0].isfinite().all()

    def test_bf16_is_near_fp32(self) -> None:
        model, sample = self.make().eval(), self.sample()
        with torch.no_grad():
            expected = model(sample)[0]
            output = model.to(torch.bfloat16)(sample.bfloat16())[0]
        assert output.dtype == torch.bfloat16
        assert (output.float() - expected).abs().max() < self.bf16_tolerance

    def test_channels_last_changes_nothing(self) -> None:
        model, sample = self.make().eval(), self.sample()
        with torch.no_grad():
            expected = model(sample)[0]
            output = model.to(memory_format=torch.channels_last)(sample.to(memory_format=torch.channels_last))[0]
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)

    @pytest.mark.slow  # up to a minute a model
    def test_the_compiled_form_is_the_same_function(self) -> None:
        for variant in [{}, *self.variants]:
            torch.compiler.reset()
            recorder = GraphRecorder()
            eager, compiled = self.make(**variant).eval(), self.make(**variant).eval()
            gradient = input_gradient(eager, self.sample())
            run = torch.compile(compiled, backend=recorder, fullgraph=True)
            torch.testing.assert_close(run(self.sample())[0], eager(self.sample())[0], rtol=0, atol=1e-5)
            compiled_gradient = input_gradient(run, self.sample())
            # Sums over many pixels in another order: relative to the largest entry.
            torch.testing.assert_close(compiled_gradient, gradient, rtol=0, atol=1e-4 * gradient.abs().max().item())
            largest = max(parameter.grad.abs().max().item() for parameter in eager.parameters())
            for (name, ours), theirs in zip(compiled.named_parameters(), eager.parameters(), strict=True):
                torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-4 * largest, msg=name)
            # Not vacuous: the compiler was given the fast form.
            normalised = any(isinstance(layer, InstanceNorm2d | PixelNorm2d) for layer in eager.modules())
            assert ("rsqrt" in recorder.operators) == normalised
            assert "instance_norm" not in recorder.operators


class GeneratorTester(ModelTester):
    @pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 3), (3, 1), (4, 2), (6, 6)])
    def test_channels(self, in_channels: int, out_channels: int) -> None:
        model = self.make(in_channels=in_channels, out_channels=out_channels)
        with torch.no_grad():
            output = model(self.sample(in_channels=in_channels)).sample
        assert output.shape == (2, out_channels, *self.input_size)
        assert output.abs().max() <= 1

    def test_without_dropout_training_and_evaluation_agree(self) -> None:
        model = self.make()
        with torch.no_grad():
            assert torch.equal(model.train()(self.sample()).sample, model.eval()(self.sample()).sample)


class DropoutTester(GeneratorTester):
    """For generators with a `dropout_prob`."""

    def test_dropout_acts_in_training_only(self) -> None:
        model, plain = self.make(dropout_prob=0.5), self.make()
        plain.load_state_dict(model.state_dict())
        with torch.no_grad():
            assert not torch.equal(model.train()(self.sample()).sample, model(self.sample()).sample)
            assert torch.equal(model.eval()(self.sample()).sample, plain(self.sample()).sample)


class DiscriminatorTester(ModelTester):
    @pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (4, 3), (6, 1)])
    def test_channels(self, in_channels: int, out_channels: int) -> None:
        model = self.make(in_channels=in_channels, out_channels=out_channels)
        with torch.no_grad():
            assert model(self.sample(in_channels=in_channels)).prediction.shape[:2] == (2, out_channels)
