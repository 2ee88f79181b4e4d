"""A sweep: what it searches, what it leaves, that a kill changes nothing, and what it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from PIL import Image
from safetensors.torch import load_file

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.sweep.search_space import own_values, search_space, with_values
from cyclegan_hf.training.sweep.summary import plot_sweep
from cyclegan_hf.training.sweep.trials import read_options, sweep
from cyclegan_hf.training.trainer import Trainer
from tests.training.test_end_to_end import PATIENCE, logged_steps, logged_steps_now, start, wait_for
from tests.training.tiny import largest_difference, tiny_config


SCRIPT = Path(__file__).resolve().parents[2] / "training" / "sweep.py"
CYCLE = "losses.lambda_a+losses.lambda_b=1:20:log"
GAN = "losses.lambda_gan=0.5,1,2"


def tiny_sweep(tmp_path: Path, name: str = "sweep", **groups: dict[str, Any]) -> TrainConfig:
    places = {f"test_{key}": str(tmp_path / "domains" / f"test{key.upper()}") for key in ("a", "b")}
    groups["data"] = places | groups.get("data", {})
    return tiny_config(tmp_path, **groups | {"run": {"output_dir": str(tmp_path / name)} | groups.get("run", {})})


def table(folder: Path) -> list[list[str]]:
    """The cells of `sweep.md`, without its heading."""
    rows = [line for line in (folder / "sweep.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


def weights_of(folder: Path) -> dict[str, Any]:
    return {
        f"{way}.{key}": tensor
        for way in ("generator_a2b", "generator_b2a")
        for key, tensor in load_file(folder / way / "diffusion_pytorch_model.safetensors").items()
    }


def test_a_killed_sweep_goes_on_in_the_middle_of_a_trial_as_if_it_had_not_been(tmp_path: Path) -> None:
    run = {"max_train_steps": 40, "checkpointing_steps": 10}
    config = tiny_sweep(tmp_path, run=run, lr_scheduler={"type": "constant"})  # a command fits another to the length
    flags = [f"--data.{key}={getattr(config.data, key)}" for key in ("a", "b", "test_a", "test_b")]
    searches = [f"--search={CYCLE}", f"--search={GAN}"]
    killed = start(
        [sys.executable, str(SCRIPT)],
        tmp_path,
        *("--recipe", "tiny.yaml", *flags, *searches, "--trials", 3, "--output-dir", tmp_path / "sweep"),
    )
    wait_for(lambda: (tmp_path / "sweep" / "trial-1" / "checkpoint-10").is_dir(), killed)
    wait_for(lambda: logged_steps_now(tmp_path / "sweep" / "trial-1") >= 12, killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=PATIENCE)
    assert not (tmp_path / "sweep" / "trial-1" / "model_index.json").exists(), "it had finished before it was killed"
    assert len(table(tmp_path / "sweep")) == 1
    steps = len(logged_steps(tmp_path / "sweep" / "trial-0"))

    config.run.recipe = "tiny.yaml"
    sweep(config, [CYCLE, GAN], trials=3)
    config.run.output_dir = str(tmp_path / "unbroken")
    sweep(config, [CYCLE, GAN], trials=3)
    assert steps == len(logged_steps(tmp_path / "sweep" / "trial-0")), "the finished trial was trained again"
    for number in range(3):
        both = [weights_of(tmp_path / name / f"trial-{number}") for name in ("sweep", "unbroken")]
        assert largest_difference(*both) == 0, number
    texts = [(tmp_path / name / "sweep.md").read_text(encoding="utf-8") for name in ("sweep", "unbroken")]
    assert texts[0] == texts[1]

    # The table holds what the trials' own files say, the best first, and the first trial is the recipe itself.
    rows = table(tmp_path / "sweep")
    found = {}
    for row in rows:
        folder = tmp_path / "sweep" / f"trial-{row[0]}"
        metrics = json.loads((folder / "best" / "metrics.json").read_text(encoding="utf-8"))
        recipe = TrainConfig.from_yaml(folder / "recipe.yaml")
        assert recipe.losses.lambda_a == recipe.losses.lambda_b
        values = (recipe.losses.lambda_a, recipe.losses.lambda_gan)
        scores = (metrics["swd"], metrics["a2b"]["swd"], metrics["b2a"]["swd"], float(metrics["epoch"]))
        assert [float(cell) for cell in row[1:7]] == pytest.approx([*values, *scores], rel=1e-3)
        found[row[0]] = values, metrics["swd"]
    assert set(found) == {"0", "1", "2"}
    assert found["0"][0] == (10, 1)
    assert all(1 <= cycle <= 20 and gan in (0.5, 1, 2) for (cycle, gan), _ in found.values())
    assert [found[row[0]][1] for row in rows] == sorted(score for _, score in found.values())
    assert [row[7] for row in rows] == ["best", "", ""]
    assert "selecting on the test set" in texts[0]
    assert f"`trial-{rows[0][0]}/recipe.yaml`" in texts[0]
    with Image.open(tmp_path / "sweep" / "sweep.png") as picture:
        assert picture.width > 2 * picture.height  # three panels
    CycleGANPipeline.from_pretrained(tmp_path / "sweep" / f"trial-{rows[0][0]}" / "best")


def test_a_trial_that_ended_before_a_kill_but_was_not_noted_is_not_trained_again(tmp_path: Path) -> None:
    config = tiny_sweep(tmp_path)
    sweep(config, [GAN], trials=1)
    root, rows = tmp_path / "sweep", table(tmp_path / "sweep")
    notes = (root / "study.journal").read_text(encoding="utf-8").splitlines(keepends=True)
    (root / "study.journal").write_text("".join(notes[:-2]), encoding="utf-8")  # its scores, and that it is complete
    (root / "sweep.md").unlink()
    trained = (root / "trial-0" / "model_index.json").stat().st_mtime_ns
    sweep(config, [GAN], trials=1)
    assert (root / "trial-0" / "model_index.json").stat().st_mtime_ns == trained
    assert table(root) == rows
    assert not (root / "trial-1").exists()


def test_the_plot_holds_the_numbers() -> None:
    space = {
        "losses.lambda_a": FloatDistribution(1, 20, log=True),
        "losses.adversarial": CategoricalDistribution("vl"),
    }
    points = [(4.0, "l", 0.25), (2.0, "v", 0.5), (8.0, "v", None)]
    trials: list[FrozenTrial] = []
    for number, (cycle, kind, value) in enumerate(points):
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        values = {"losses.lambda_a": cycle, "losses.adversarial": kind}
        trials.append(create_trial(state=state, value=value, params=values, distributions=space))
        trials[-1].number = 2 - number
    order, cycle_panel, kind_panel = plot_sweep(trials, space, "swd").axes
    best_so_far, *marks = order.lines
    assert (list(best_so_far.get_xdata()), list(best_so_far.get_ydata())) == ([1, 2], [0.5, 0.25])
    assert order.get_ylabel() == "swd (lower is better)"
    for panel, places in ((cycle_panel, [8, 2, 4]), (kind_panel, [0, 0, 1])):
        marks = [(line.get_xdata()[0], line.get_ydata()[0], line.get_marker()) for line in panel.lines]
        assert [mark[0] for mark in marks] == places
        assert marks[0][2] == "x"
        assert [mark[1:] for mark in marks[1:]] == [(0.5, "o"), (0.25, "*")]
    assert cycle_panel.get_xscale() == "log"
    assert [label.get_text() for label in kind_panel.get_xticklabels()] == ["v", "l"]


def test_a_grid_has_every_combination_once_and_what_stops_is_noted(tmp_path: Path) -> None:
    config = tiny_sweep(tmp_path)
    searches = ["optimizer.learning_rate=1e-4,1e30", "generator.num_res_blocks=1,2"]
    sweep(config, searches, trials=1, sampler="grid")
    assert len(table(tmp_path / "sweep")) == 1
    sweep(config, searches, sampler="grid")
    rows = table(tmp_path / "sweep")
    assert sorted(row[1:3] for row in rows) == [[rate, blocks] for rate in ("0.0001", "1e+30") for blocks in "12"]
    assert ["stopped" in row[-1] for row in rows] == [False, False, True, True]
    assert re.search(r"stopped: Step \d+: .*(nan|inf)", rows[-1][-1])
    blocks = {row[0]: int(row[2]) for row in rows[:2]}
    for number, count in blocks.items():
        generator = json.loads((tmp_path / "sweep" / f"trial-{number}" / "generator_a2b" / "config.json").read_text())
        assert generator["num_res_blocks"] == count

    # A trial is what train.py would have made of the same settings in a process of its own.
    last = max(blocks, key=int)
    alone = with_values(config, {"optimizer.learning_rate": 1e-4, "generator.num_res_blocks": blocks[last]})
    alone.run.output_dir = str(tmp_path / "alone")
    Trainer(alone).train()
    assert largest_difference(weights_of(tmp_path / "alone"), weights_of(tmp_path / "sweep" / f"trial-{last}")) == 0


def test_a_recipe_in_stages_is_scored_by_its_last_stages_best(tmp_path: Path) -> None:
    stages = {"batch_sizes": [2, 1], "epochs": [1, 1], "evaluation_epochs": [1, 1]}
    config = tiny_sweep(tmp_path, stages=stages, run={"max_train_steps": None})
    sweep(config, ["seed=3,4"], sampler="grid")
    for row in table(tmp_path / "sweep"):
        trial = tmp_path / "sweep" / f"trial-{row[0]}"
        best = json.loads((trial / "stage-2" / "best" / "metrics.json").read_text(encoding="utf-8"))
        assert float(row[2]) == pytest.approx(best["swd"], rel=1e-3)
    assert "/stages.yaml`" in (tmp_path / "sweep" / "sweep.md").read_text(encoding="utf-8")


def test_when_every_trial_stops_the_first_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"All 2 trials stopped; the first: Step \d+: .*(nan|inf)"):
        sweep(tiny_sweep(tmp_path), ["optimizer.learning_rate=1e30,1e31"], sampler="grid")


def test_the_space_has_the_types_of_the_fields(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    searches = [
        *("losses.lambda_a=1:20", "optimizer.learning_rate=1e-5:1e-3:log", "--train-batch-size".strip("-") + "=1:4"),
        *("generator.num_res_blocks=1:3", "losses.adversarial=lsgan,hinge", "optimizer.max_grad_norm=null,1e0"),
        *("data.load_size=[36,36],[32,40]", "data.horizontal_flip=true,false"),
    ]
    space = search_space(searches, config)
    assert space == {
        "losses.lambda_a": FloatDistribution(1, 20),
        "optimizer.learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
        "run.train_batch_size": IntDistribution(1, 4),
        "generator.num_res_blocks": IntDistribution(1, 3),
        "losses.adversarial": CategoricalDistribution(["lsgan", "hinge"]),
        "optimizer.max_grad_norm": CategoricalDistribution([None, 1.0]),
        "data.load_size": CategoricalDistribution(["[36, 36]", "[32, 40]"]),
        "data.horizontal_flip": CategoricalDistribution([True, False]),
    }
    own = own_values(config, space)
    assert own is not None
    assert with_values(config, own) == config
    assert own["data.load_size"] == "[36, 36]"
    changed = with_values(config, own | {"data.load_size": "[32, 40]", "losses.adversarial": "hinge"})
    assert (changed.data.load_size, changed.losses.adversarial) == ((32, 40), "hinge")
    assert own_values(config, search_space(["losses.lambda_a=1:5"], config)) is None
    assert own_values(config, search_space(["losses.lambda_a+losses.lambda_gan=1:20"], config)) is None


@pytest.mark.parametrize(
    ("searches", "message"),
    [
        (["losses.lambda_aa=1:2"], "unknown key `losses.lambda_aa`; did you mean `losses.lambda_a`?"),
        (["lambda_gan=1:2"], "unknown key `lambda_gan`; did you mean `losses.lambda_gan`?"),
        (["loses.lambda_gan=1:2"], "unknown key `loses.lambda_gan`; did you mean `losses.lambda_gan`?"),
        (["generator.num_resblocks=1,2"], "num_resblocks"),
        (["losses.lambda_a"], "must be key=low:high, key=low:high:log or key=value,value, got 'losses.lambda_a'"),
        (["losses.lambda_a=2:1"], "in rising numbers, got '2:1'"),
        (["losses.lambda_a=0:1:log"], "with low above 0, in rising numbers, got '0:1:log'"),
        (["losses.lambda_a=1:2:lin"], "must be low:high, or low:high:log"),
        (["losses.lambda_a=1:inf"], "must be low:high, or low:high:log"),
        (["losses.lambda_a=one:two"], "must be low:high, or low:high:log"),
        (["losses.lambda_a=-1:2"], "`losses.lambda_a` must be at least 0, got -1"),
        (["losses.lambda_a=1"], "must list two or more different values, got '1'"),
        (["losses.lambda_a=1,1"], "must list two or more different values, got '1,1'"),
        (["losses.lambda_a=[1,2"], "must list two or more different values, got '[1,2'"),
        (["losses.lambda_a=low,high"], "`losses.lambda_a` must be float, got 'low'"),
        (["losses.adversarial=lsgan,wasserstein"], "`losses.adversarial` must be one of 'lsgan'"),
        (["train_batch_size=1.5:2"], "`run.train_batch_size` must be int, got 1.5"),
        (["losses.lambda_a=1:2", "losses.lambda_a=3:4"], "each key once, got losses.lambda_a, losses.lambda_a"),
        (["evaluation.metric=swd,gms"], "cannot vary `evaluation.metric`: trials are compared by the same pictures"),
        (["data.image_size=32,64"], "cannot vary `data.image_size`"),
        (["output_dir=a,b"], "cannot vary `run.output_dir`"),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_line(tmp_path: Path, searches: list[str], message: str) -> None:
    with pytest.raises(ValueError) as error:
        sweep(tiny_sweep(tmp_path), searches)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "sweep").exists()


def test_what_a_sweep_needs_is_looked_at_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"`losses.lambda_a` has a range"):
        sweep(tiny_sweep(tmp_path), ["losses.lambda_a=1:2"], sampler="grid")
    with pytest.raises(ValueError, match=r"`evaluation.metric: gms` needs a feature network"):
        sweep(tiny_sweep(tmp_path, evaluation={"metric": "gms"}), ["losses.lambda_a=1:2"])
    with pytest.raises(ValueError, match="nowhere"):
        sweep(tiny_sweep(tmp_path, data={"a": str(tmp_path / "nowhere")}), ["losses.lambda_a=1:2"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="A sweep runs in one process"):
        sweep(tiny_sweep(tmp_path), ["losses.lambda_a=1:2"])
    assert not (tmp_path / "sweep").exists()


def test_another_command_does_not_go_on_with_a_sweep(tmp_path: Path) -> None:
    sweep(tiny_sweep(tmp_path), ["losses.lambda_gan=1,2"], trials=1)
    with pytest.raises(ValueError, match=r"holds a sweep with `run.max_train_steps` 4, got 5: go on with the same"):
        sweep(tiny_sweep(tmp_path, run={"max_train_steps": 5}), ["losses.lambda_gan=1,2"])
    with pytest.raises(ValueError, match=r"holds a sweep with `--search` \['losses.lambda_gan=1,2'\], got"):
        sweep(tiny_sweep(tmp_path), ["losses.lambda_gan=1,3"])
    assert len(table(tmp_path / "sweep")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: --search"),
        (["--search", "a=1,2", "--trials", "0"], "`--trials` must be at least 1, got 0"),
        (["--search", "a=1,2", "--trials", "many"], "--trials: invalid int value: 'many'"),
        (["--search", "a=1,2", "--sampler", "bayes"], "--sampler: invalid choice: 'bayes'"),
    ],
)
def test_wrong_flags(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_options(arguments)


def test_flags_are_divided_between_the_sweep_and_the_training() -> None:
    options, rest = read_options(["--search", CYCLE, "--data.a", "A", "--search", GAN, "--seed", "3", "--trials=5"])
    assert (options.search, options.trials, options.sampler) == ([CYCLE, GAN], 5, "tpe")
    assert rest == ["--data.a", "A", "--seed", "3"]


def test_without_optuna_one_line_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "optuna.py").write_text("raise ImportError(\"No module named 'optuna'\")", encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{SCRIPT.parents[1]}"}
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stderr == (
        "error: No module named 'optuna'; a sweep needs two extras: pip install -e '.[train,search]'\n"
    )
