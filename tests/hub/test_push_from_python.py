"""Pushes from Python: `push_to_hub` of single networks and of pipelines."""

import re
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from tests.hub.client import Client, make_pipeline, token
from tests.hub.test_push import PIPELINE, WEIGHTS, added
from tests.hub_server import HubServer


def push_network(repo_id: str, role: str | None = None, **settings: Any) -> tuple[str, bool]:
    """A generator that draws random weights; what its `push_to_hub` returns, and whether it came back."""
    import torch

    from cyclegan_hf import ResnetGenerator

    torch.manual_seed(0)
    generator = ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1)
    with token(role or "hf_write"):
        url = str(generator.push_to_hub(repo_id, **settings))
        places = {key: settings[key] for key in ("revision", "variant", "subfolder") if key in settings}
        loaded = ResnetGenerator.from_pretrained(repo_id, **places)
    pairs = zip(generator.state_dict().values(), loaded.state_dict().values(), strict=True)
    return url, all(torch.equal(*pair) for pair in pairs)


def test_single_networks(server: HubServer, client: Client) -> None:
    url, same = client(push_network, "tester/network", revision="trial", private=True, license="mit")
    assert (url, same) == (f"{server.endpoint}/tester/network/tree/trial", True)
    assert server.repos["models", "tester/network"].private
    files = added(server, "tester/network", "trial")
    assert set(files) == {"README.md", "config.json", WEIGHTS}
    card = ModelCard(files["README.md"].decode())
    assert (
        card.data.license == "mit" and "from cyclegan_hf.models.generator_resnet import ResnetGenerator" in card.text
    )
    assert 'ResnetGenerator.from_pretrained("tester/network", revision="trial")' in card.text
    assert "parameters" in card.text
    assert client(push_network, "tester/network", subfolder="later/best", variant="ema")[1]
    assert set(added(server, "tester/network")) == {
        *("later/best/config.json", f"later/best/{WEIGHTS.replace('.', '.ema.')}")
    }


def push_from_python(folder: str, repo_id: str, **settings: Any) -> str:
    from cyclegan_hf import CycleGANPipeline

    return str(CycleGANPipeline.from_pretrained(folder).push_to_hub(repo_id, **settings))


def test_a_pipelines_own_push(server: HubServer, client: Client, model: Path) -> None:
    assert (
        client(push_from_python, str(model), "tester/own", commit_message="By hand") == f"{server.endpoint}/tester/own"
    )
    files = added(server, "tester/own")
    assert set(files) == PIPELINE | {"README.md"}
    assert server.repos["models", "tester/own"].at("main").title == "By hand"
    code = re.search(r"```python\n(.*?)```", files["README.md"].decode(), re.DOTALL)
    assert code and 'CycleGANPipeline.from_pretrained("tester/own")' in code[1]
    server.add("model", "tester/own", {"README.md": b"---\nlicense: mit\n---\n# Mine\n"})
    client(push_from_python, str(model), "tester/own")
    assert added(server, "tester/own")["README.md"].endswith(b"# Mine\n")  # a card that is there stays
    client(push_from_python, str(model), "tester/own", revision="fp16", variant="fp16")
    assert f"generator_a2b/{WEIGHTS.replace('.', '.fp16.')}" in added(server, "tester/own", "fp16")


def test_a_push_from_python_leaves_nothing_of_other_weights(
    server: HubServer, cli: Any, model: Path, client: Client, tmp_path: Path
) -> None:
    (model / "metrics.json").write_text('{"protocol": {"seed": 3}, "a2b": {"swd": 1.5}}')
    (model / "recipe.yaml").write_text("run: {}\n")
    (model / "grid-a2b.jpg").write_bytes(b"picture")
    (model / "generator_b2a" / "model.onnx").write_bytes(b"graph of these very weights")
    assert cli("push", model, "tester/renewed")[0] == 0
    server.add("model", "tester/renewed", {"notes.txt": b"the owner's own"})
    assert b"swd" in added(server, "tester/renewed")["README.md"]
    other = client(make_pipeline, str(tmp_path / "other"), seed=1)
    client(push_from_python, other, "tester/renewed", variant="fp16")  # one form more, and all else stays
    files = added(server, "tester/renewed")
    assert "generator_b2a/model.onnx" in files and b"swd" in files["README.md"]
    client(push_from_python, other, "tester/renewed")
    files = added(server, "tester/renewed")
    assert set(files) == PIPELINE | {"README.md", "notes.txt"}
    assert b"swd" not in files["README.md"] and b'from_pretrained("tester/renewed")' in files["README.md"]
    client(push_from_python, other, "tester/renewed", license="mit")  # over the card of its own kind too
    changed = added(server, "tester/renewed")["README.md"].replace(b"photo.jpg", b"my.jpg")
    assert b"license: mit" in changed
    server.add("model", "tester/renewed", {"README.md": changed})
    client(push_from_python, other, "tester/renewed")
    assert added(server, "tester/renewed")["README.md"] == changed  # somebody's words


def push_twice(repo_id: str) -> None:
    import torch

    from cyclegan_hf import ResnetGenerator

    generator = ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1)
    generator.push_to_hub(repo_id)
    generator.to(torch.float16).push_to_hub(repo_id, variant="fp16")
    generator.float().push_to_hub(repo_id, subfolder="best", variant="ema")
    ResnetGenerator(block_out_channels=(4, 4), num_res_blocks=1).push_to_hub(repo_id)


def test_a_networks_variant_goes_with_its_weights(server: HubServer, client: Client) -> None:
    client(push_twice, "tester/network-twice")
    also = {"best/config.json", f"best/{WEIGHTS.replace('.', '.ema.')}"}  # in a folder of its own
    assert set(added(server, "tester/network-twice")) == {"README.md", "config.json", WEIGHTS} | also
