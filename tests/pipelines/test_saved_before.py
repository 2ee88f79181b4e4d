"""A pipeline that was saved before the library's modules moved into folders (December 2026) still loads."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from cyclegan_hf import CycleGANPipeline


INDEX = """{
  "_class_name": ["pipeline", "CycleGANPipeline"],
  "_diffusers_version": "0.42.1",
  "domain_a": "summer",
  "domain_b": "winter",
  "generator_a2b": ["cyclegan_hf.models.generator_resnet", "ResnetGenerator"],
  "generator_b2a": [null, null],
  "image_processor_a": {"mean": null, "num_channels": 3, "size": null, "std": null},
  "image_processor_b": {"mean": null, "num_channels": 3, "size": null, "std": null}
}
"""
CONFIG = """{
  "_class_name": "ResnetGenerator",
  "_diffusers_version": "0.42.1",
  "activation_after_add": false,
  "activation_type": "relu",
  "block_out_channels": [4, 8],
  "dropout_prob": 0.0,
  "in_channels": 3,
  "in_padding": 3,
  "learn_residual": false,
  "norm_on_last": false,
  "norm_type": "instance",
  "num_res_blocks": 1,
  "out_channels": 3,
  "out_padding": 3,
  "padding_mode": "reflect",
  "separable": false,
  "upsample_type": "conv_transpose"
}
"""
SHAPES = {
    "conv_in.1.bias": (4,),
    "conv_in.1.weight": (4, 3, 7, 7),
    "conv_out.1.bias": (3,),
    "conv_out.1.weight": (3, 4, 7, 7),
    "down_blocks.0.0.bias": (8,),
    "down_blocks.0.0.weight": (8, 4, 3, 3),
    "mid_blocks.0.conv1.bias": (8,),
    "mid_blocks.0.conv1.weight": (8, 8, 3, 3),
    "mid_blocks.0.conv2.bias": (8,),
    "mid_blocks.0.conv2.weight": (8, 8, 3, 3),
    "up_blocks.0.0.bias": (4,),
    "up_blocks.0.0.weight": (8, 4, 3, 3),
}


def test_a_pipeline_of_before_the_folders_loads(tmp_path: Path) -> None:
    folder = tmp_path / "generator_a2b"
    folder.mkdir()
    (tmp_path / "model_index.json").write_text(INDEX)
    (folder / "config.json").write_text(CONFIG)
    noise = torch.Generator().manual_seed(0)
    weights = {name: 0.1 * torch.randn(shape, generator=noise) for name, shape in SHAPES.items()}
    save_file(weights, folder / "diffusion_pytorch_model.safetensors")

    pipeline = CycleGANPipeline.from_pretrained(tmp_path)
    assert pipeline.generator_b2a is None
    assert (pipeline.config["domain_a"], pipeline.config["domain_b"]) == ("summer", "winter")
    loaded = pipeline.generator_a2b.state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)

    pipeline.save_pretrained(tmp_path / "again")  # and is written with the same names
    index = json.loads((tmp_path / "again" / "model_index.json").read_text())
    config = json.loads((tmp_path / "again" / "generator_a2b" / "config.json").read_text())
    assert index == json.loads(INDEX) | {"_diffusers_version": index["_diffusers_version"]}
    assert config.keys() >= json.loads(CONFIG).keys()
