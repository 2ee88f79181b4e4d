"""What users of diffusers type, and what it does here."""

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from cyclegan_hf import CycleGANPipeline, ImageProcessor, ResnetGenerator
from tests.testing_utils import make_picture


WEIGHTS = "generator_a2b/diffusion_pytorch_model.safetensors"


def resnet(**settings):
    return ResnetGenerator(**{"block_out_channels": (4, 8), "num_res_blocks": 1} | settings).eval()


@pytest.fixture
def pipe():
    return CycleGANPipeline(resnet(), resnet(), "summer", "winter", ImageProcessor(size=(48, 48)))


@pytest.fixture
def saved(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_diffusion_pipeline_loads_ours_where_it_may(pipe, saved):
    with pytest.raises(ValueError, match="trust_remote_code"):
        DiffusionPipeline.from_pretrained(saved)
    loaded = DiffusionPipeline.from_pretrained(saved, trust_remote_code=True)
    assert type(loaded) is CycleGANPipeline
    picture = make_picture("A", 0)
    np.testing.assert_array_equal(loaded(picture).images[0], pipe(picture).images[0])


def test_the_file_for_diffusers_is_not_run_here(saved):
    (saved / "pipeline.py").write_text("raise SystemExit('run')")
    assert CycleGANPipeline.from_pretrained(saved).config["domain_a"] == "summer"


def test_from_pipe_shares_the_networks(pipe):
    made = CycleGANPipeline.from_pipe(pipe, domain_b="snow", generator_b2a=None)
    assert made.generator_a2b is pipe.generator_a2b and made.generator_b2a is None
    assert (made.config["domain_a"], made.config["domain_b"]) == ("summer", "snow")
    assert made.image_processor_a == pipe.image_processor_a
    assert CycleGANPipeline.from_pipe(pipe, torch_dtype=torch.float16).dtype == torch.float16
    with pytest.raises(ValueError, match="did you mean `domain_b`"):
        CycleGANPipeline.from_pipe(pipe, domainb="snow")
    with pytest.raises(ValueError, match="expected a CycleGANPipeline"):
        CycleGANPipeline.from_pipe(resnet())


def test_one_direction_is_loaded_without_the_other(saved):
    (saved / WEIGHTS.replace("a2b", "b2a")).unlink()
    loaded = CycleGANPipeline.from_pretrained(saved, generator_b2a=None)
    assert loaded.generator_b2a is None and loaded.generator_a2b is not None
    assert loaded.image_processor_a.size == (48, 48)


def test_a_generator_is_replaced(saved):
    other = resnet(num_res_blocks=2)
    loaded = CycleGANPipeline.from_pretrained(saved, generator_a2b=other, domain_a="meadow")
    assert loaded.generator_a2b is other and loaded.config["domain_a"] == "meadow"
    with pytest.raises(ValueError, match="channels"):
        CycleGANPipeline.from_pretrained(saved, generator_a2b=resnet(in_channels=1))


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("value", [torch.float16, "float16", "torch.float16"])
def test_a_dtype_by_name(saved, name, value):
    assert CycleGANPipeline.from_pretrained(saved, **{name: value}).dtype == torch.float16


def test_the_dtype_of_the_files(pipe, saved, tmp_path):
    assert CycleGANPipeline.from_pretrained(saved, dtype="auto").dtype == torch.float32
    pipe.to(torch.float16).save_pretrained(tmp_path / "half")
    assert CycleGANPipeline.from_pretrained(tmp_path / "half", torch_dtype="auto").dtype == torch.float16
    assert CycleGANPipeline.from_pretrained(tmp_path / "half").dtype == torch.float32


@pytest.mark.parametrize("value", ["float99", "int8", torch.int8, 16])
def test_a_dtype_that_there_is_not(saved, value):
    with pytest.raises(ValueError, match="`dtype` must be"):
        CycleGANPipeline.from_pretrained(saved, dtype=value)


def test_a_device(saved):
    assert CycleGANPipeline.from_pretrained(saved, device_map="cpu").device == torch.device("cpu")
    for name in ("balanced", "cuda:99", {"generator_a2b": "cpu"}):
        with pytest.raises(ValueError, match="one device of this machine") as caught:
            CycleGANPipeline.from_pretrained(saved, device_map=name)
        assert "\n" not in str(caught.value)


def test_safetensors_alone(saved):
    CycleGANPipeline.from_pretrained(saved, use_safetensors=True)
    with pytest.raises(ValueError, match="safetensors"):
        CycleGANPipeline.from_pretrained(saved, use_safetensors=False)


def test_the_size_of_weight_files(pipe, tmp_path):
    pipe.save_pretrained(tmp_path, max_shard_size="5GB")
    assert load_file(tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match="one file a generator"):
        pipe.save_pretrained(tmp_path / "shards", max_shard_size="1KB")
    with pytest.raises(ValueError, match="max_shard_size"):
        pipe.save_pretrained(tmp_path / "shards", max_shard_size="big")
    assert not (tmp_path / "shards").exists()


def test_saving_pushes_where_asked_for(pipe, tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(CycleGANPipeline, "push_to_hub", lambda self, repo_id, private=None: pushed.append(repo_id))
    pipe.save_pretrained(tmp_path / "seasons", push_to_hub=True, private=True)
    pipe.save_pretrained(tmp_path / "seasons", push_to_hub=True, repo_id="user/name")
    assert pushed == ["seasons", "user/name"]
    with pytest.raises(ValueError, match="`repo_id`"):
        pipe.save_pretrained(tmp_path / "seasons", repo_id="user/name")
