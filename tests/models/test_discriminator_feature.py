from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cyclegan_hf.feature_networks import load_efficientnet_lite
from cyclegan_hf.models.discriminator_feature import FeatureDiscriminator
from cyclegan_hf.models.initialization import initialize_weights
from tests.models.model_tester import ModelTester, input_gradient


class TestFeatureDiscriminator(ModelTester):
    model_class = FeatureDiscriminator
    config: ClassVar = {"num_channels": 8}
    top_level_names: ClassVar = {"heads", "mixers", "projections"}
    variants: ClassVar = [
        {"levels": (1, 3), "spectral_norm": False},
        {"learn_projection": True},
        {"patch_channels": (4, 8), "in_channels": 3},
    ]
    input_size = (64, 96)

    def test_every_level_has_a_channel_of_the_finest_size(self) -> None:
        prediction = self.make(patch_channels=(4, 8))(self.sample()).prediction
        assert prediction.shape == (2, 5, 16, 24)
        coarsest = prediction[:, 3]
        assert torch.equal(coarsest, F.interpolate(coarsest[:, None, ::8, ::8], scale_factor=8)[:, 0])

    def test_grey_images_are_judged_as_grey_colour_images(self) -> None:
        grey = self.sample(in_channels=1)
        with torch.no_grad():
            one = self.make(in_channels=1).eval()(grey).prediction
            three = self.make().eval()(grey.expand(-1, 3, -1, -1)).prediction
        assert torch.equal(one, three)

    def test_the_frozen_network_is_nobody_elses(self) -> None:
        model = self.make().train()
        before = [tensor.clone() for tensor in model._frozen.state_dict().values()]
        initialize_weights(model, "kaiming")
        model.requires_grad_(True)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        model(self.sample()).prediction.square().mean().backward()
        optimizer.step()
        after = model._frozen.state_dict().values()
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
        assert not any(parameter.requires_grad for parameter in model._frozen.parameters())
        assert sum(tensor.numel() for tensor in model.state_dict().values()) < 100_000

    def test_random_projections_are_kept_by_initialisations_and_saved(self, tmp_path: Path) -> None:
        model = self.make()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items() if "projections" in name}
        initialize_weights(model, "normal")
        model.save_pretrained(tmp_path)
        torch.manual_seed(1)
        loaded = FeatureDiscriminator.from_pretrained(tmp_path).state_dict()
        assert len(before) == 4
        assert all(torch.equal(tensor, loaded[name]) for name, tensor in before.items())
        assert not any("projections" in name or "mixers" in name for name, _ in model.named_parameters())

    def test_gradients_reach_the_images_through_held_heads(self) -> None:
        model = self.make().requires_grad_(False)
        assert input_gradient(model, self.sample()).abs().max() > 0
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_contrast_of_features_does_not_matter(self) -> None:
        # Dividing by the root mean square takes a level's scale away, so no level drowns another.
        model = self.make(spectral_norm=False).eval()
        norms = []
        for level, project in enumerate(model.projections):
            features = model._frozen.levels((self.sample() + 1) / 2)[level]
            norms.append(project(model.norm(features)).square().mean().sqrt().item())
        assert max(norms) < 3 * min(norms)

    @pytest.mark.parametrize(
        ("wrong", "word"),
        [
            ({"levels": (0, 4)}, "levels"),
            ({"levels": (2, 1)}, "levels"),
            ({"levels": ()}, "levels"),
            ({"in_channels": 4}, "in_channels"),
            ({"feature_network": "vgg"}, "efficientnet-lite0"),
        ],
    )
    def test_what_cannot_be_is_refused(self, wrong: dict, word: str) -> None:
        with pytest.raises(ValueError, match=word):
            FeatureDiscriminator(**wrong)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from cyclegan_hf import feature_networks

    gone = feature_networks.VARIANTS["efficientnet-lite0"]._replace(package="no-such-package-of-weights")
    monkeypatch.setitem(feature_networks.VARIANTS, "efficientnet-lite0", gone)
    feature_networks.weights_file.cache_clear()
    with pytest.raises(ValueError, match="features"):
        FeatureDiscriminator()
    feature_networks.weights_file.cache_clear()


def test_another_file_than_the_published_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from cyclegan_hf import feature_networks

    other = feature_networks.VARIANTS["efficientnet-lite0"]._replace(sha256="0" * 64)
    monkeypatch.setitem(feature_networks.VARIANTS, "efficientnet-lite0", other)
    feature_networks.weights_file.cache_clear()
    with pytest.raises(ValueError, match="hash"):
        load_efficientnet_lite("efficientnet-lite0")
    feature_networks.weights_file.cache_clear()


def test_no_trained_layer_is_left_without_spectral_norm() -> None:
    model = FeatureDiscriminator(num_channels=8, patch_channels=(4, 8))
    trained = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert trained and all(hasattr(layer, "parametrizations") for layer in trained)
