"""The measuring: what is measured of what, and that it is the same however it is asked."""

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cyclegan_hf import CycleGANPipeline, ResnetGenerator
from cyclegan_hf.evaluation.describe import MOST_PATCHES, SetSettings, patches_of
from cyclegan_hf.evaluation.evaluator import Evaluator, as_tensors
from cyclegan_hf.evaluation.markdown import protocol_line
from cyclegan_hf.evaluation.protocol import protocol_of
from cyclegan_hf.evaluation.results import Settings
from cyclegan_hf.feature_networks import EfficientNetLite
from cyclegan_hf.image_processor import ImageProcessor
from cyclegan_hf.images.io import open_image
from cyclegan_hf.metrics.color import color_difference, mean_lab
from cyclegan_hf.metrics.image_features import ImageFeatures
from cyclegan_hf.metrics.reconstruction import l1_distance, psnr
from cyclegan_hf.metrics.sliced_wasserstein import patch_descriptors, sliced_wasserstein
from cyclegan_hf.metrics.structure import edge_agreement, structural_similarity
from tests.evaluation.tiny import evaluator, pictures_in, pipeline
from tests.metrics.test_inception import TinyNetwork
from tests.testing_utils import write_domains


def pictures(folder: Path) -> torch.Tensor:
    return as_tensors([open_image(path) for path in sorted(folder.iterdir())], ImageProcessor())


def rounded(images: list[torch.Tensor]) -> torch.Tensor:
    return (torch.stack(images) * 255 + 0.5).floor() / 255


def test_the_figures_are_those_of_the_pipelines_pictures(two_domains: Path) -> None:
    pipe = pipeline()
    scores = evaluator(two_domains)(pipe)["a2b"]
    inputs, target, reference = (pictures(two_domains / name) for name in ("testA", "testB", "trainB"))
    both = pipe(inputs, direction="a2b", return_cycle=True, output_type="pt", batch_size=6)
    translations, cycles = rounded(both.images), rounded(both.cycles)
    expected = {
        "ssim": structural_similarity(inputs, translations).mean(),
        "edge_agreement": edge_agreement(inputs, translations).mean(),
        "cycle_l1": l1_distance(inputs, cycles).mean(),
        "cycle_psnr": psnr(inputs, cycles).mean(),
        "cycle_ssim": structural_similarity(inputs, cycles).mean(),
        "color_shift": color_difference(mean_lab(inputs), mean_lab(translations)).mean(),
        "color_distance": color_difference(mean_lab(translations).mean(0), mean_lab(reference).mean(0)),
        "identity_l1": l1_distance(target, rounded(pipe(target, direction="a2b", output_type="pt").images)).mean(),
    }
    for name, value in expected.items():
        assert scores.figures[name] == pytest.approx(value.item(), abs=2e-3), name  # one of 255 levels may tip over
    assert scores.pictures["ssim"].shape == (6,)
    ours, its = (patch_descriptors(images) for images in (translations, reference))
    distances = [sliced_wasserstein(mine, real) for mine, real in zip(ours, its, strict=True)]
    assert scores.figures["swd_levels"] == pytest.approx(distances, rel=1e-2)
    assert scores.figures["swd"] == pytest.approx(np.mean(distances), rel=1e-2)


def test_the_same_again_and_in_other_batches(two_domains: Path) -> None:
    pipe = pipeline()
    first, again = (evaluator(two_domains)(pipe) for _ in range(2))
    other = Evaluator(pictures_in(two_domains), Settings(sets=SetSettings(resamples=20), batch_size=5))(pipe)
    for way in ("a2b", "b2a"):
        assert first[way].figures == again[way].figures
        for name, samples in first[way].resampled.items():
            assert torch.equal(samples, again[way].resampled[name]), name
        assert first[way].figures["swd"] == pytest.approx(other[way].figures["swd"], rel=1e-2)
        assert first[way].figures["ssim"] == pytest.approx(other[way].figures["ssim"], abs=1e-3)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Twelve images of each kind: enough for KID."""
    return write_domains(tmp_path / "many", count=12, size=48)


def test_the_gap_is_between_the_baselines(many: Path) -> None:
    pipe, measured = pipeline(), evaluator(many, network=TinyNetwork())
    scores, baselines = measured(pipe), measured.baselines(pipe)
    for way in ("a2b", "b2a"):
        untouched, real = (baselines[way][name].figures for name in ("untouched", "real"))
        assert real["kid"] < untouched["kid"]  # meadows and snow
        assert real["swd"] < untouched["swd"]
        assert real["color_distance"] < untouched["color_distance"]
        gap = (untouched["kid"] - scores[way].figures["kid"]) / (untouched["kid"] - real["kid"])
        assert scores[way].figures["gap_closed"] == pytest.approx(gap)
        assert untouched["ssim"] == untouched["edge_agreement"] == 1


class Still(ResnetGenerator):
    """Changes nothing."""

    def forward(self, sample: torch.Tensor, return_dict: bool = True):
        return type("Output", (), {"sample": sample})()


class Snow(Still):
    """Makes the same of every picture."""

    def forward(self, sample: torch.Tensor, return_dict: bool = True):
        return type("Output", (), {"sample": torch.full_like(sample, 0.8)})()


class Broken(Still):
    """Makes no numbers."""

    def forward(self, sample: torch.Tensor, return_dict: bool = True):
        return type("Output", (), {"sample": sample * math.nan})()


def of(*classes: type) -> CycleGANPipeline:
    generators = [kind(block_out_channels=(4, 8), num_res_blocks=1).eval() for kind in classes]
    return CycleGANPipeline(*generators, domain_a="summer", domain_b="winter")


def test_a_model_that_changes_nothing_is_the_zero_row(many: Path) -> None:
    measured = evaluator(many, network=TinyNetwork())
    pipe = of(Still, Still)
    scores = measured(pipe)["a2b"]
    untouched = measured.baselines(pipe)["a2b"]["untouched"]
    assert scores.figures["gap_closed"] == pytest.approx(0, abs=1e-6)  # two roundings of eight bits
    assert scores.figures["swd"] == pytest.approx(untouched.figures["swd"], rel=1e-6)
    for name in ("swd", "kid"):
        assert torch.allclose(scores.resampled[name], untouched.resampled[name], rtol=1e-4), name  # paired
    assert scores.figures["ssim"] == pytest.approx(1, abs=1e-5)
    for name in ("cycle_l1", "identity_l1", "color_shift"):
        assert scores.figures[name] == pytest.approx(0, abs=1e-5)
    assert scores.figures["cycle_psnr"] == 100
    assert scores.figures["noise_gain"] == pytest.approx(1, rel=0.1)
    assert "identity collapse" in scores.signs["unchanged"]


def test_what_pictures_are_taken_for(two_domains: Path) -> None:
    measured, pipe = evaluator(two_domains, network=TinyNetwork()), of(Still, Still)
    scores, baselines = measured(pipe), measured.baselines(pipe)
    for way in ("a2b", "b2a"):  # meadows and snow are told apart, and what is not changed is taken for what it is
        assert scores[way].figures["taken_for_target"] == 0
        assert baselines[way]["untouched"].figures["taken_for_target"] == 0
        assert baselines[way]["real"].figures["taken_for_target"] == 1
    found = measured(of(Snow, Still))["a2b"]
    assert found.figures["taken_for_target"] == 1 and (found.resampled["taken_for_target"] == 1).all()


def test_nothing_is_taken_for_anything_by_what_it_was_told_with(two_domains: Path) -> None:
    found = pictures_in(two_domains)
    alone = Evaluator(dataclasses.replace(found, independent={"a": False, "b": True}), Settings(), TinyNetwork())(
        pipeline()
    )
    assert "taken_for_target" not in alone["a2b"].figures and "taken_for_target" in alone["b2a"].figures


def test_mode_collapse_is_seen(two_domains: Path) -> None:
    scores = evaluator(two_domains)(of(Snow, Still))["a2b"]
    assert scores.figures["diversity"] == 0
    assert "mode collapse" in scores.signs["collapse"]


def test_no_numbers_are_refused_by_name(two_domains: Path) -> None:
    with pytest.raises(ValueError, match="a2b: the model's output holds NaN"):
        evaluator(two_domains)(of(Broken, Still))


def test_one_direction_needs_no_way_back(two_domains: Path) -> None:
    scores = evaluator(two_domains)(pipeline(directions=("b2a",)))
    assert list(scores) == ["b2a"]
    assert not any(name.startswith("cycle") or name == "noise_gain" for name in scores["b2a"].figures)
    for path in (two_domains / "testB").iterdir():
        path.unlink()
    (two_domains / "testB").rmdir()
    with pytest.raises(ValueError, match="no pictures for the direction that this model has"):
        evaluator(two_domains)(pipeline(directions=("b2a",)))


def test_grey_and_colour_of_other_sizes(tmp_path: Path) -> None:
    write_domains(tmp_path, count=3, size=28)
    there = ResnetGenerator(in_channels=1, block_out_channels=(4, 8), num_res_blocks=1, in_padding=5).eval()
    back = ResnetGenerator(out_channels=1, block_out_channels=(4, 8), num_res_blocks=1, out_padding=1).eval()
    processors = {
        "image_processor_a": ImageProcessor(num_channels=1, size=(28, 28)),
        "image_processor_b": ImageProcessor(size=(32, 32)),
    }
    pipe = CycleGANPipeline(there, back, **processors)
    inputs = pictures_in(tmp_path)
    fitted = inputs.read
    inputs.read = lambda path, key: fitted(path, key).resize((28, 28) if key == "a" else (32, 32))
    shapes = []

    def look(images: torch.Tensor, translations: torch.Tensor) -> torch.Tensor:
        shapes.append((tuple(images.shape), tuple(translations.shape)))
        return images.mean((1, 2, 3))

    scores = Evaluator(inputs, Settings(sets=SetSettings(resamples=5)), pair_measures={"lpips": look})(pipe)
    for way in ("a2b", "b2a"):
        assert {"swd", "color_shift", "cycle_l1"} <= scores[way].figures.keys()
        assert {"ssim", "edge_agreement", "lpips"} <= scores[way].figures.keys()
        assert "identity_l1" not in scores[way].figures
    assert shapes == [((3, 3, 28, 28), (3, 3, 32, 32)), ((3, 3, 32, 32), (3, 3, 28, 28))]
    translation = torch.zeros(1, 3, 28, 28)
    translation[..., 8:20, 8:20] = 0.8
    figures = Evaluator(inputs, Settings())._pair_figures(translation[:, :1], translation)
    assert figures["ssim"].item() == pytest.approx(1, abs=1e-5)  # grey, as a picture in colours that has none
    assert figures["edge_agreement"].item() == pytest.approx(1, abs=1e-5)
    larger = translation.repeat_interleave(2, 2).repeat_interleave(2, 3)
    figures = Evaluator(inputs, Settings())._pair_figures(translation[:, :1], larger)
    assert figures["ssim"].item() > 0.9 and figures["edge_agreement"].item() > 0.95


def test_tiny_pictures_have_no_swd(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_domains(tmp_path, count=2, size=20)
    scores = evaluator(tmp_path)(pipeline())
    assert "SWD needs 25 pixels" in caplog.text
    assert not {"swd", "gap_closed"} & scores["a2b"].figures.keys()
    assert "diversity" in scores["a2b"].figures


def test_a_feature_network_and_what_few_images_mean(many: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Wide(TinyNetwork):
        """Of 3 features 24."""

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features, logits = super().forward(images)
            return features.repeat(1, 8), logits

    evaluator(many, network=TinyNetwork())(pipeline())
    assert "FID is biased" not in caplog.text  # twelve images, three features
    measured = evaluator(many, network=Wide())
    scores = measured(pipeline())["a2b"]
    measured(pipeline())
    assert [line[:3] for line in measured.warnings()] == ["a2b", "b2a"]
    assert "FID is biased upwards with 12 images, fewer than its 24 features: go by KID" in measured.warnings()[0]
    assert caplog.text.count("FID is biased") == 2  # each direction's, once
    assert scores.figures["gms"] == pytest.approx(math.sqrt(scores.figures["fid"] / scores.figures["inception_score"]))
    assert {"kid", "kid_std", "inception_score_std"} <= scores.figures.keys()
    assert {"fid", "kid", "inception_score", "gms"} <= scores.resampled.keys()


def test_the_image_networks_own_figures(two_domains: Path) -> None:
    torch.manual_seed(0)
    measured = evaluator(two_domains, network=ImageFeatures(EfficientNetLite().eval()))
    pipe = of(Still, Still)
    scores = measured(pipe)["a2b"]
    untouched = measured.baselines(pipe)["a2b"]["untouched"].figures
    assert {"fd", "gms", "taken_for_target", "content"} <= scores.figures.keys() and "fid" not in scores.figures
    assert scores.figures["content"] == pytest.approx(0, abs=1e-3) and untouched["content"] == 0
    assert scores.figures["fd"] == pytest.approx(untouched["fd"], rel=1e-3, abs=1e-6)
    assert scores.pictures["content"].shape == (6,)
    assert len(measured._targets["b"].examples) == 12  # mirror images too
    assert "FD, the domain probe, SWD are reported" in measured.warnings()[0]


def test_tints_are_looked_for_against_real_images(two_domains: Path) -> None:
    class Mauve(Still):
        """Takes the green out: snow is tinted."""

        def forward(self, sample: torch.Tensor, return_dict: bool = True):
            return type("Output", (), {"sample": sample - torch.tensor([0.0, 0.35, 0.0])[:, None, None]})()

    scores = evaluator(two_domains)(of(Still, Mauve))
    assert "whites are tinted" in scores["b2a"].signs["tinted_whites"]
    assert scores["b2a"].figures["tinted_whites"] > 0.9
    assert "tinted_whites" not in scores["a2b"].signs


@pytest.mark.parametrize(("count", "left_out"), [(6, {"kid"}), (1, {"fid", "kid", "inception_score", "gms"})])
def test_too_few_images_for_kid_are_said_with_what_is_reported(tmp_path: Path, count: int, left_out: set[str]) -> None:
    write_domains(tmp_path, count=count, size=48)
    measured = evaluator(tmp_path, network=TinyNetwork())
    scores = measured(pipeline())["a2b"]
    warning = measured.warnings()[0]
    assert "KID" in warning and f"there are {count}" in warning and "SWD" in warning and "are reported" in warning
    of_features = {"fid", "kid", "inception_score", "gms"}
    assert of_features - scores.figures.keys() == left_out
    assert ("diversity" in scores.figures) == (count > 1)
    assert {"swd", "ssim", "cycle_l1"} <= scores.figures.keys() and "gap_closed" not in scores.figures


def test_further_measures_and_discriminators(two_domains: Path) -> None:
    def brightness(images: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2, 3))

    measured = evaluator(two_domains, pair_measures={"lpips": lambda one, other: (one - other).abs().mean((1, 2, 3))})
    scores = measured(of(Still, Still), judges={"b": (brightness, "lsgan")})
    assert scores["a2b"].figures["lpips"] == pytest.approx(0, abs=1e-6)
    # Snow is brighter than one half, meadows are not: this judge is always right.
    assert scores["a2b"].figures["accuracy"] == 1
    assert "accuracy" not in scores["b2a"].figures
    assert "sees through it (100%)" in scores["a2b"].signs["identity"]


def test_what_is_kept_are_the_pictures(two_domains: Path) -> None:
    kept: dict[tuple[str, int], tuple[Path, dict]] = {}
    evaluator(two_domains)(
        of(Still, Still), keep=lambda way, index, path, shown: kept.update({(way, index): (path, shown)})
    )
    assert sorted(kept) == [(way, index) for way in ("a2b", "b2a") for index in range(6)]
    path, shown = kept["b2a", 4]
    assert path == two_domains / "testB" / "004.png"
    assert list(shown) == ["input", "translation", "cycle"]
    assert torch.equal(shown["input"], pictures(two_domains / "testB")[4])


def test_the_arithmetic_of_the_translations_is_not_that_of_the_figures(two_domains: Path) -> None:
    seen: list[torch.dtype] = []

    class Look(nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            seen.append((images.flatten(1) @ images.flatten(1).T).dtype)
            return images.mean((2, 3)), images.mean((2, 3))

    measured = evaluator(two_domains, network=Look(), autocast=lambda: torch.autocast("cpu", torch.bfloat16))
    scores = measured(pipeline())
    assert set(seen) == {torch.float32}
    assert scores["a2b"].figures["swd"] != evaluator(two_domains)(pipeline())["a2b"].figures["swd"]


@pytest.mark.parametrize(("pictures", "patches"), [(1, 128), (1024, 128), (1025, 127), (5000, 26), (10**6, 1)])
def test_fewer_patches_are_taken_of_large_sets(pictures: int, patches: int) -> None:
    assert patches_of(pictures) == patches
    assert pictures * patches <= max(MOST_PATCHES, pictures)


def test_a_large_sets_patches_are_told(two_domains: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = two_domains / "trainB"
    for number in range(6):
        shutil.copy(many / "000.png", many / f"more-{number}.png")
    pipe = pipeline()
    plain = evaluator(two_domains)
    whole = plain(pipe)["a2b"].figures["swd"]
    assert "patches_of_large_sets" not in protocol_of(plain, None, {}, {}, {})["swd"]
    monkeypatch.setattr("cyclegan_hf.evaluation.describe.MOST_PATCHES", 6 * 128)
    thinned = evaluator(two_domains)
    scores = thinned(pipe)
    protocol = protocol_of(thinned, None, {}, {}, {})
    assert protocol["swd"]["patches_of_large_sets"] == {"reference b": 64}  # of twelve pictures; the others are six
    assert thinned._targets["b"].patches(0).shape[:2] == (12, 64)
    assert scores["a2b"].figures["swd"] == pytest.approx(whole, rel=0.2)
    assert "128 patches of 7×7 a picture (reference b 64)" in protocol_line(protocol)
