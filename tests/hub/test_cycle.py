"""The README's four commands, from two folders to a published model and its page; and back, in a fresh process."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from huggingface_hub import ModelCard, SpaceCard
from PIL import Image

from cyclegan_hf import CycleGANPipeline
from tests.hub_server import HubServer
from tests.testing_utils import make_picture, write_domains
from tests.training.tiny import write_recipe


ROOT = Path(__file__).resolve().parents[2]
TINY = "--max-train-steps 4 --checkpointing-steps 2 --hub-strategy checkpoint --hub-license cc-by-4.0"
PROGRAMS = {
    "hf": [sys.executable, "-c", "from huggingface_hub.cli.hf import main; main()"],
    "cyclegan-hf": [sys.executable, "-m", "cyclegan_hf.cli"],
    "accelerate": [sys.executable, "-m", "accelerate.commands.accelerate_cli"],
}


def readme_commands() -> list[list[str]]:
    """The commands of the README's section, for the user `tester`; two are completed as a test needs it."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Publish\n")[1]
    block = re.search(r"```bash\n(.*?)```", section, re.DOTALL)
    assert block
    words = [shlex.split(line.replace("user/", "tester/")) for line in block[1].splitlines()]
    assert [line[:2] for line in words] == [
        ["hf", "auth"],
        ["cyclegan-hf", "dataset"],
        ["accelerate", "launch"],
        ["cyclegan-hf", "push-space"],
    ]
    words[0] += ["--token", "hf_write"]  # what a user is asked for
    train = words[2]
    train[train.index("training/train.py")] = str(ROOT / "training" / "train.py")
    train[train.index("summer2winter")] = "tiny.yaml"
    words[2] = [*train[:2], "--cpu", "--num_processes", "1", "--mixed_precision", "no", *train[2:], *TINY.split()]
    return words


def run(words: list[str], environment: dict[str, str], folder: Path) -> str:
    """A command that ends well; its output."""
    command = [*PROGRAMS.get(words[0], [words[0]]), *words[1:]]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{words}: {done.stderr[-3000:]}"
    return done.stdout


def test_from_two_folders_to_a_model_and_its_page_and_back(tmp_path: Path) -> None:
    write_domains(tmp_path / "made", count=3, size=40)
    for name, domain in (("summer", "trainA"), ("winter", "trainB")):
        (tmp_path / "made" / domain).rename(tmp_path / name)
    write_recipe(tmp_path / "tiny.yaml", evaluation={"epochs": 1, "num_images": 2})
    with HubServer() as server:
        home = server.environment(tmp_path / "home", role=None) | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        outputs = [run(words, home, tmp_path) for words in readme_commands()]
        assert outputs[1] == f"{server.endpoint}/datasets/tester/seasons\n"
        assert outputs[3] == f"{server.endpoint}/spaces/tester/summer2winter-page\n"
        check_data(server)
        check_model(server, tmp_path / "runs" / "s2w")
        check_space(server)

        # Somebody else's machine: the card's code as it stands, with an empty cache; and again when the Hub is gone.
        card = server.files("model", "tester/summer2winter")["README.md"].decode()
        code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
        assert code
        reader = tmp_path / "reader"
        reader.mkdir()
        make_picture("A", 7, (50, 42)).save(reader / "photo.jpg")
        twice = f"{code[1]}\nresult.save('first.png')\nprint('done', flush=True)\ninput()\n{code[1]}"
        theirs = server.environment(tmp_path / "theirs", role=None) | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", twice],
            env=theirs,
            cwd=reader,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout and process.stdout.readline() == "done\n"
        (reader / "translation.png").unlink()
        assert server.leaks == []
    process.communicate("\n", timeout=300)
    assert process.returncode == 0
    expected = np.asarray(CycleGANPipeline.from_pretrained(tmp_path / "runs" / "s2w")(reader / "photo.jpg").images[0])
    for name in ("first.png", "translation.png"):
        np.testing.assert_array_equal(np.asarray(Image.open(reader / name)), expected)


def check_data(server: HubServer) -> None:
    files = server.files("dataset", "tester/seasons")
    assert {"trainA/00000-of-00001.parquet", "trainB/00000-of-00001.parquet", "README.md"} < set(files)
    assert "| `trainA` | summer | train | 3 |" in files["README.md"].decode()


def check_model(server: HubServer, folder: Path) -> None:
    """The repository's layout, and a card with everything that a run knows."""
    files = server.files("model", "tester/summer2winter")
    root = {path for path in files if path[0] != "." and not path.startswith("last-checkpoint/")}
    parts, names = ("generator_a2b", "generator_b2a"), ("", ".fp16")
    weights = [f"{part}/diffusion_pytorch_model{name}.safetensors" for part in parts for name in names]
    records = [
        "README.md",
        "model_index.json",
        "pipeline.py",
        "recipe.yaml",
        "training.json",
        "metrics.json",
        "report.md",
    ]
    grids = ["grid-a2b.jpg", "grid-b2a.jpg"]
    assert root == {*weights, *records, *grids, *(f"{part}/config.json" for part in parts)}
    last = {path.removeprefix("last-checkpoint/") for path in files if path.startswith("last-checkpoint/")}
    assert {"model_index.json", "training_state/run.json", "training_state/state.pt"} < last
    for name in (weights[0], "metrics.json", *grids):
        assert files[name] == (folder / name).read_bytes()
    assert str(folder.parent.parent).encode() not in b"".join(files.values())  # no path of this machine
    titles = [commit.title for commit in server.repos["models", "tester/summer2winter"].commits.values()]
    assert titles[-1] == "End of training" and titles[-2] == "checkpoint-4"

    card = ModelCard(files["README.md"].decode())
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "cyclegan_hf")
    assert {"cyclegan", "image-to-image", "diffusers"} <= set(card.data.tags)
    figures = {(result.metric_type, result.dataset_config) for result in card.data.eval_results}
    assert {("swd", "a2b"), ("swd", "b2a")} <= figures
    assert all(result.dataset_args["protocol"]["metric"] == "swd" for result in card.data.eval_results)
    facts = [
        "# summer ↔ winter",
        "](grid-a2b.jpg)",
        "](grid-b2a.jpg)",
        "ResnetGenerator(block_out_channels=[4, 8], num_res_blocks=1), 2,939 parameters each",
        "| pictures | 3 of summer, 3 of winter |",
        "licence not stated",
        "| trained | 4 steps of 1 |",
        "Adam 0.0002",
        "| compute | 0.00 hours on 1 × ",
        "## Metrics",
        "Protocol:\n\n- metric: swd",
        "## Limits",
        "the detectors of known failures",
        'from_pretrained("tester/summer2winter")',
    ]
    for fact in facts:
        assert fact in card.text, fact


def check_space(server: HubServer) -> None:
    files = server.files("space", "tester/summer2winter-page")
    assert {"README.md", "app.py", "requirements.txt", "examples/summer/lake.jpg"} < set(files)
    card = SpaceCard(files["README.md"].decode())
    assert (card.data.title, card.data.sdk, card.data.app_file) == ("summer ↔ winter", "gradio", "app.py")
    assert card.data.models == ["tester/summer2winter"]
    repo = server.repos["spaces", "tester/summer2winter-page"]
    assert (repo.sdk, repo.variables) == ("gradio", {"CYCLEGAN_MODEL": "tester/summer2winter"})
    (wheel,) = [name for name in files if name.endswith(".whl")]
    address = f"{server.endpoint}/spaces/tester/summer2winter-page/resolve/main/{wheel}"
    assert f"cyclegan_hf @ {address}#sha256=" in files["requirements.txt"].decode()
    assert os.path.basename(wheel) == wheel
