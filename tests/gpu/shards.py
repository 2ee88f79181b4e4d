"""Trained generators as a few files of fp16 weights, none larger than what a machine sends back, and the way back.

python tests/gpu/shards.py figures trained     # each recipe's pipeline, as a folder in trained/
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

CONFIGS_NAME = "trained.json"
NETWORKS = ("generator_a2b", "generator_b2a")
WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
MIB = 2**20


def pack(pipelines: dict[str, Path], output: Path, shard_mib: float = 15, total_mib: float = 45) -> list[str]:
    """Write the generators of some pipelines as `weights-0.safetensors` and so on, and their settings beside them.

    Args:
        pipelines: Pipeline folders by name, the most important ones first.
        output: Where to; shards that are there are replaced.
        shard_mib: Largest size of a shard.
        total_mib: Largest size of all shards together.

    Returns:
        Names of the pipelines that no longer fit.
    """
    output.mkdir(parents=True, exist_ok=True)
    for old in output.glob("weights-*.safetensors"):
        old.unlink()
    shards: list[dict[str, torch.Tensor]] = [{}]
    configs: dict[str, dict[str, str]] = {}
    left_out, room, total = [], shard_mib * MIB, total_mib * MIB
    for name, folder in pipelines.items():
        tensors = {
            f"{name}/{network}/{key}": tensor.half() if tensor.is_floating_point() else tensor
            for network in NETWORKS
            if (folder / network / WEIGHTS_NAME).is_file()
            for key, tensor in load_file(folder / network / WEIGHTS_NAME).items()
        }
        size = sum(tensor.nbytes for tensor in tensors.values())
        if size > total:
            left_out.append(name)
            continue
        total -= size
        texts = [*folder.glob("*.json"), *folder.glob("*.md"), *folder.glob("*/config.json"), *folder.glob("*.yaml")]
        configs[name] = {str(file.relative_to(folder)): file.read_text(encoding="utf-8") for file in texts}
        for key, tensor in tensors.items():
            if tensor.nbytes > room and shards[-1]:
                shards.append({})
                room = shard_mib * MIB
            shards[-1][key] = tensor.contiguous()
            room -= tensor.nbytes
    for number, shard in enumerate(shards):
        if shard:
            save_file(shard, output / f"weights-{number}.safetensors")
    (output / CONFIGS_NAME).write_text(json.dumps(configs) + "\n", encoding="utf-8")
    return left_out


def unpack(shards: Path, output: Path) -> list[Path]:
    """Write the pipelines of a folder of shards, each into a folder of its name in `output`; weights stay fp16.

    Raises:
        ValueError: If a shard of a pipeline is missing.
    """
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(shards.glob("weights-*.safetensors")):
        tensors |= load_file(file)
    folders = []
    for name, texts in json.loads((shards / CONFIGS_NAME).read_text(encoding="utf-8")).items():
        for path, text in texts.items():
            (output / name / path).parent.mkdir(parents=True, exist_ok=True)
            (output / name / path).write_text(text, encoding="utf-8")
        for network in NETWORKS:
            start = f"{name}/{network}/"
            own = {key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)}
            if f"{network}/config.json" in texts and not own:
                raise ValueError(f"{shards} has no weights of {start.rstrip('/')}: a shard is missing.")
            if own:
                save_file(own, output / name / network / WEIGHTS_NAME)
        folders.append(output / name)
    return folders


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: shards.py FOLDER_OF_SHARDS OUTPUT")
    print(*unpack(Path(sys.argv[1]), Path(sys.argv[2])))
