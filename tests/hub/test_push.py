"""Pushes by command, and what they refuse."""

import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

import cyclegan_hf
from tests.hub.client import Client, load, make_pipeline
from tests.hub_server import HubServer


WEIGHTS = "diffusion_pytorch_model.safetensors"
PARTS = ("generator_a2b", "generator_b2a")
PIPELINE = {
    "model_index.json",
    "pipeline.py",
    *(f"{part}/{name}" for part in PARTS for name in ("config.json", WEIGHTS)),
}


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def added(server: HubServer, repo_id: str, revision: str = "main") -> dict[str, bytes]:
    return {path: data for path, data in server.files("model", repo_id, revision).items() if path[0] != "."}


def test_a_folder_goes_up_as_one_commit_with_its_card(
    server: HubServer, cli: Any, model: Path, client: Client
) -> None:
    metrics = {"protocol": {"metric": "swd", "split": "test", "pictures": {"a": 3, "b": 4}}, "a2b": {"swd": 1.5}}
    (model / "metrics.json").write_text(json.dumps(metrics))
    (model / "recipe.yaml").write_text("run: {}\n")
    (model / "grid-a2b.jpg").write_bytes(b"picture")
    (model / "generator_a2b" / "model.onnx").write_bytes(b"graph")
    for other in ("checkpoint-1/model_index.json", "log.jsonl", "samples/1.png", "logs/events"):
        (model / other).parent.mkdir(exist_ok=True)
        (model / other).write_text("not to be published")
    before = contents(model)
    code, output, errors = cli("push", model, "tester/whole", "--license", "cc-by-4.0", "--variants", "fp16", "bf16")
    assert (code, output, errors) == (0, f"{server.endpoint}/tester/whole\n", "")
    assert contents(model) == before

    repo = server.repos["models", "tester/whole"]
    assert [commit.title for commit in repo.commits.values()] == ["initial commit", "Upload summer ↔ winter"]
    files = added(server, "tester/whole")
    variants = {f"{part}/{WEIGHTS.replace('.', f'.{name}.')}" for part in PARTS for name in ("fp16", "bf16")}
    also = {"README.md", "metrics.json", "recipe.yaml", "grid-a2b.jpg", "generator_a2b/model.onnx"}
    assert set(files) == PIPELINE | variants | also
    assert all(files[name] == before[name] for name in set(files) - variants - {"README.md"})
    sizes = [len(files[f"generator_a2b/{WEIGHTS.replace('.', f'{name}.')}"]) for name in ("", ".fp16", ".bf16")]
    assert max(sizes[1:]) < sizes[0]
    full, half = (client(load, "tester/whole", variant=name) for name in (None, "fp16"))
    assert full.keys() == half.keys() and full != half

    card = ModelCard(files["README.md"].decode())
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "cyclegan_hf")
    assert card.data.pipeline_tag == "image-to-image"
    assert {"cyclegan", "image-to-image", "diffusers"} <= set(card.data.tags)
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_split) == ("swd", 1.5, "test")
    assert result.dataset_args == {"protocol": metrics["protocol"]}
    assert "![" in card.text and "](grid-a2b.jpg)" in card.text
    assert 'from_pretrained("tester/whole")' in card.text
    assert "| swd ↓ | 1.5 |  |" in card.text

    code, output, _ = cli("push", model, "tester/whole", "--license", "cc-by-4.0", "--variants", "fp16", "bf16")
    assert (code, output) == (0, f"{server.endpoint}/tester/whole (nothing new)\n")
    assert len(repo.commits) == 2
    assert server.leaks == []


def test_the_bundled_weights_can_be_published(server: HubServer, cli: Any, client: Client) -> None:
    bundled = Path(cyclegan_hf.__file__).parent / "pretrained"
    assert cli("push", bundled, "tester/bundled")[0] == 0
    files = added(server, "tester/bundled")
    here = {path: content for path, content in contents(bundled).items() if path != "README.md"}
    assert {path: content for path, content in files.items() if path != "README.md"} == here  # fp16: no variants
    card = ModelCard(files["README.md"].decode())
    assert card.data.license == "apache-2.0" and 'CycleGANPipeline.from_pretrained("tester/bundled")' in card.text
    assert card.text.count("](grid.jpg)") == 1
    assert client(load, "tester/bundled") == client(load, str(bundled))


def test_what_an_earlier_push_left_of_other_weights_goes(
    server: HubServer, cli: Any, model: Path, client: Client, tmp_path: Path
) -> None:
    (model / "metrics.json").write_text('{"a2b": {"swd": 1.5}}')
    (model / "generator_b2a" / "model.onnx").write_bytes(b"graph of these very weights")
    assert cli("push", model, "tester/stale")[0] == 0
    server.add("model", "tester/stale", {"notes.txt": b"the owner's own"})
    other = client(make_pipeline, str(tmp_path / "other"), seed=1)
    assert cli("push", other, "tester/stale", "--variants")[0] == 0
    assert set(added(server, "tester/stale")) == PIPELINE | {"README.md", "notes.txt"}


def test_branches_tags_and_pull_requests(server: HubServer, cli: Any, model: Path, client: Client) -> None:
    assert cli("push", model, "tester/refs")[0] == 0
    first = client(load, "tester/refs")
    repo = server.repos["models", "tester/refs"]
    repo.add_ref("refs/tags/v1", "main")
    client(make_pipeline, str(model), seed=1)
    code, output, _ = cli("push", model, "tester/refs", "--revision", "exp/new", "--commit-message", "Try a seed")
    assert (code, output) == (0, f"{server.endpoint}/tester/refs/tree/exp/new\n")
    assert repo.at("exp/new").title == "Try a seed"
    assert 'revision="exp/new")' in server.files("model", "tester/refs", "exp/new")["README.md"].decode()
    client(make_pipeline, str(model), seed=2)
    code, output, _ = cli("push", model, "tester/refs", "--create-pr")
    assert (code, output) == (0, f"{server.endpoint}/tester/refs/discussions/1\n")
    loaded = [
        client(load, "tester/refs", revision=name) for name in (None, "v1", repo.at("v1").oid, "exp/new", "refs/pr/1")
    ]
    assert loaded[:3] == [first] * 3
    assert len({str(weights) for weights in loaded}) == 3
    code, _, errors = cli("push", model, "tester/refs", "--revision", "v1")
    assert code == 2 and "'v1' is a tag, and does not move" in errors
    code, _, errors = cli("push", model, "tester/refs", "--revision", "exp/new", "--create-pr")
    assert code == 2 and "leave out `revision` 'exp/new' or `create_pr`" in errors


def test_a_pull_request_to_somebody_elses_model(server: HubServer, cli: Any, model: Path) -> None:
    files = contents(model)
    server.add("model", "someone/popular", files)
    (model / "recipe.yaml").write_text("run: {}\n")
    code, _, errors = cli("push", model, "someone/popular")
    assert code == 2 and "may not write to someone/popular" in errors and "--create-pr" in errors
    code, output, _ = cli("push", model, "someone/popular", "--create-pr")
    assert (code, output) == (0, f"{server.endpoint}/someone/popular/discussions/1\n")
    assert added(server, "someone/popular") == files
    assert "recipe.yaml" in server.files("model", "someone/popular", "refs/pr/1")


REFUSALS = {
    "not logged in": (None, "tester/new", [], "the Hub needs to know who writes: log in with `hf auth login`"),
    "wrong token": ("hf_wrong", "tester/new", [], "the Hub does not know this token"),
    "read-only token": ("read", "tester/new", [], "this token may not write to tester/new"),
    "somebody else's name": ("write", "someone/new", [], "this token may not write to someone/new"),
    "a name that cannot be": ("write", "tester/a b", [], "expected a name such as user/name"),
    "a name taken by another model": ("write", "tester/taken", [], "holds something else (model_index.json, unet/x)"),
    "a public one that should be private": ("write", "tester/public", ["--private"], "on the Hub already, and public"),
    "a licence that there is not": ("write", "tester/new", ["--license", "my own"], '"license" must be one of'),
    "no discriminators": ("write", "tester/new", ["--discriminators"], "has no discriminators: push a checkpoint"),
    "no training state": ("write", "tester/new", ["--training-state"], "has no training_state: push a checkpoint"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_each_refusal_is_one_line_that_says_what_to_do(
    server: HubServer, cli: Any, model: Path, client: Client, case: str
) -> None:
    role, repo_id, options, words = REFUSALS[case]
    server.add("model", "tester/taken", {"model_index.json": b'{"_class_name": "Other"}', "unet/x": b"theirs"})
    server.add("model", "tester/public", contents(model))
    before, taken = contents(model), added(server, "tester/taken")
    code, output, errors = cli("push", model, repo_id, *options, role=role)
    assert (code, output) == (2, "")
    assert errors.startswith("error: ") and errors.count("\n") == 1 and "Traceback" not in errors
    assert words in errors
    assert contents(model) == before and added(server, "tester/taken") == taken
    if ("models", repo_id) in server.repos and "/new" in repo_id:
        assert added(server, repo_id) == {}  # made, and nothing half in it
        del server.repos["models", repo_id]


def test_what_is_no_pipeline_is_not_pushed(server: HubServer, cli: Any, model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "expected a saved pipeline" in cli("push", "empty", "tester/none")[2]
    assert "found no such folder" in cli("push", "nowhere", "tester/none")[2]
    weights = model / "generator_a2b" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-4])
    code, _, errors = cli("push", model, "tester/none")
    assert code == 2 and "cannot load" in errors and errors.count("\n") == 1
    (model / "README.md").write_text("---\nlicense: [\n---\n")
    assert ("models", "tester/none") not in server.repos


def test_a_card_that_somebody_wrote_stays(server: HubServer, cli: Any, model: Path) -> None:
    text = (
        "---\nlicense: mit\nlanguage: en\n---\n\n# My model\n\nWords.\n\n## Metrics\n\nold\n\n## Thanks\n\nTo all.\n"
    )
    (model / "README.md").write_text(text)
    (model / "metrics.json").write_text('{"protocol": {"seed": 0}, "b2a": {"swd": 2.5, "nan": NaN}}')
    (model / "grid.jpg").write_bytes(b"picture")
    assert cli("push", model, "tester/words")[0] == 0
    card = ModelCard(server.files("model", "tester/words")["README.md"].decode())
    assert (card.data.license, card.data.language) == ("mit", "en")
    order = [
        "# My model",
        "Words.",
        "](grid.jpg)",
        "## Thanks",
        "To all.",
        "## Metrics",
        "| swd ↓ |  | 2.5 |",
        "seed: 0",
    ]
    places = [card.text.index(words) for words in order]
    assert places == sorted(places) and "old" not in card.text and "nan" not in card.content
    (model / "README.md").write_text("---\nlicense: [\n---\n# Broken\n")
    code, _, errors = cli("push", model, "tester/words")
    assert code == 2 and "README.md: its metadata" in errors and errors.count("\n") == 1


def test_a_busy_hub_is_asked_again(server: HubServer, cli: Any, model: Path, client: Client) -> None:
    client(make_pipeline, str(model), seed=101)  # which no test has uploaded before
    faults = [server.fault("status", "/repos/create", times=2), server.fault("status", "/commit/", status=500)]
    code, output, errors = cli("push", model, "tester/busy")
    assert (code, output) == (0, f"{server.endpoint}/tester/busy\n"), errors
    assert [fault.fired for fault in faults] == [2, 1]
    assert set(added(server, "tester/busy")) >= PIPELINE
    uploads = Counter(request.path for request in server.seen("PUT", "/lfs/"))
    assert set(uploads.values()) == {1}  # what had arrived before the commit failed is not sent again


def test_a_commit_whose_answer_is_lost_is_not_made_twice(server: HubServer, cli: Any, model: Path) -> None:
    lost = server.fault("lost", "/commit/")
    assert cli("push", model, "tester/lost")[0] == 0
    assert lost.fired == 1
    assert len(server.repos["models", "tester/lost"].commits) == 2


def test_an_upload_that_is_cut_off_is_sent_again(server: HubServer, cli: Any, model: Path, client: Client) -> None:
    client(make_pipeline, str(model), seed=102)
    faults = [server.fault("status", "/lfs/", method="PUT", times=2), server.fault("drop", "/lfs/", method="PUT")]
    assert cli("push", model, "tester/cut-upload")[0] == 0
    assert [fault.fired for fault in faults] == [2, 1]
    assert (
        added(server, "tester/cut-upload")["generator_a2b/" + WEIGHTS]
        == (model / "generator_a2b" / WEIGHTS).read_bytes()
    )


def push_many(folders: list[str], repo_id: str) -> None:
    """Pushes of several folders at once, again and again."""
    from cyclegan_hf.pipelines.push import push_pipeline

    def push(folder: str) -> None:
        for number in range(6):
            push_pipeline(folder, repo_id, variants=(), check=False, commit_message=f"{Path(folder).name} {number}")
            Path(folder, "recipe.yaml").write_text(f"run: {{seed: {random.random()}}}\n")

    with ThreadPoolExecutor(len(folders)) as pool:
        list(pool.map(push, folders))


def test_two_pushes_at_once_never_mix(server: HubServer, client: Client, tmp_path: Path) -> None:
    """Every commit holds one pusher's files, whole, though files that are alike in both are not sent at all."""
    folders = [client(make_pipeline, str(tmp_path / name), seed=seed) for seed, name in enumerate(("one", "two"))]
    for folder in folders:
        (Path(folder) / "recipe.yaml").write_text("run: {}\n")
    client(push_many, folders, "tester/race")
    weights = {name: [(tmp_path / name / part / WEIGHTS).read_bytes() for part in PARTS] for name in ("one", "two")}
    commits = list(server.repos["models", "tester/race"].commits.values())[1:]
    assert len(commits) >= 2
    for commit in commits:
        found = [commit.files[f"{part}/{WEIGHTS}"].content for part in PARTS]
        assert found == weights[commit.title.split()[0]], commit.title
    assert any(request.status == 412 for request in server.seen("POST", "/commit/")), "they never met"


def test_a_conflict_that_does_not_end_is_given_up(server: HubServer, cli: Any, model: Path) -> None:
    always = server.fault("status", "/conflicts/commit/", status=412, times=1000)
    code, _, errors = cli("push", model, "tester/conflicts")
    assert code == 2 and "somebody else pushed at the same time" in errors and errors.count("\n") == 1
    assert 2 < always.fired < 20
    assert added(server, "tester/conflicts") == {}
    always.times = 0


def test_discriminators_and_training_state_on_request(
    server: HubServer, cli: Any, model: Path, client: Client
) -> None:
    """Of a checkpoint: its discriminators as networks of their own, its state without this machine's folders."""
    client(make_checkpoint, str(model))
    assert cli("push", model, "tester/bare")[0] == 0
    assert set(added(server, "tester/bare")) >= PIPELINE
    assert not any(path.startswith(("training_state", "discriminator")) for path in added(server, "tester/bare"))
    assert cli("push", model, "tester/full", "--discriminators", "--training-state")[0] == 0
    files = added(server, "tester/full")
    assert {f"discriminator_{key}/{name}" for key in "ab" for name in ("config.json", WEIGHTS)} <= set(files)
    assert {f"training_state/{name}" for name in ("run.json", "config.yaml", "discriminator_a.safetensors")} <= set(
        files
    )
    assert b"/home/me" not in b"".join(files.values())
    assert client(load_discriminator, "tester/full") == client(load_discriminator, str(model))


def make_checkpoint(folder: str) -> None:
    from safetensors.torch import save_file

    from cyclegan_hf import PatchDiscriminator

    state = Path(folder, "training_state")
    state.mkdir()
    for key in "ab":
        save_file(
            PatchDiscriminator(block_out_channels=(4, 8)).state_dict(), state / f"discriminator_{key}.safetensors"
        )
    (state / "run.json").write_text("{}")
    block = "discriminator:\n  _class_name: PatchDiscriminator\n  block_out_channels: [4, 8]\n"
    (state / "config.yaml").write_text(block + "data:\n  a: /home/me/photos\n")
    Path(folder, "recipe.yaml").write_text(block + "data:\n  a: null\n")


def load_discriminator(place: str) -> dict[str, bytes]:
    from safetensors.torch import load_file

    from cyclegan_hf import PatchDiscriminator

    if Path(place).exists():
        tensors = load_file(Path(place, "training_state", "discriminator_b.safetensors"))
    else:
        tensors = PatchDiscriminator.from_pretrained(place, subfolder="discriminator_b").state_dict()
    return {key: tensor.numpy().tobytes() for key, tensor in tensors.items()}
