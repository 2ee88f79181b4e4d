"""Evaluation in training: which pictures, which figures, what is kept, what is refused."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cyclegan_hf import CycleGANPipeline
from cyclegan_hf.cli import main
from cyclegan_hf.evaluation.pictures import spread
from cyclegan_hf.training.config import TrainConfig, with_validation_split
from cyclegan_hf.training.data.sources import load_sources
from cyclegan_hf.training.scores import Evaluator
from cyclegan_hf.training.trainer import Trainer
from tests.metrics.test_inception import save_network
from tests.testing_utils import write_domains
from tests.training.tiny import identical, largest_difference, tiny_config, weights


EVERY = {"evaluation": {"epochs": 1}, "run": {"max_train_steps": 9}}  # three pictures, so three steps an epoch


def with_test_pictures(tmp_path: Path, **groups: dict[str, Any]) -> TrainConfig:
    places = {f"test_{key}": str(tmp_path / "domains" / f"test{key.upper()}") for key in ("a", "b")}
    return tiny_config(tmp_path, **groups | {"data": places | groups.get("data", {})})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_files_are_spread_evenly() -> None:
    files = [Path(str(number)) for number in range(10)]
    assert [int(path.name) for path in spread(files, 4)] == [0, 3, 6, 9]
    assert spread(files, 10) == spread(files, 99) == files


def test_the_best_by_the_metric_is_kept_and_says_how_it_was_chosen(tmp_path: Path) -> None:
    trainer = Trainer(with_test_pictures(tmp_path, **EVERY, ema={"decay": 0.5}))
    trainer.train()
    run = tmp_path / "run"
    scores = {line["step"]: line["evaluation"] for line in lines(run / "epochs.jsonl")}
    assert list(scores) == [3, 6, 9]
    assert all(score["swd"] == (score["a2b"]["swd"] + score["b2a"]["swd"]) / 2 for score in scores.values())
    logged = {line["step"]: line["swd"] for line in lines(run / "log.jsonl") if "swd" in line}
    assert logged == {step: score["swd"] for step, score in scores.items()}

    best = json.loads((run / "best" / "metrics.json").read_text(encoding="utf-8"))
    winner = min(scores, key=lambda step: scores[step]["swd"])
    assert (best["step"], best["epoch"], best["swd"]) == (winner, winner // 3, scores[winner]["swd"])
    assert best["protocol"]["split"] == "test"
    assert "selecting on the test set" in best["protocol"]["selection"]
    last = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert (last["step"], last["swd"]) == (9, scores[9]["swd"])
    assert last["protocol"]["selection"] == "none: the weights of the last step"

    # The folder holds the weights that the figure is of, and all that a run needs to go on from there.
    config = with_test_pictures(tmp_path, **EVERY)
    pipe = CycleGANPipeline.from_pretrained(run / "best")
    assert Evaluator(config, load_sources(config.data))(pipe)["swd"] == best["swd"]
    assert (run / "best" / "training_state" / "discriminator_a.safetensors").is_file()
    assert "| 9 | " in (run / "report.md").read_text(encoding="utf-8")


def test_every_few_steps_and_at_the_end(tmp_path: Path) -> None:
    config = with_test_pictures(tmp_path, evaluation={"steps": 4}, run={"max_train_steps": 10})
    Trainer(config).train()
    told = lines(tmp_path / "run" / "epochs.jsonl")
    assert [(line["step"], "train" in line, "evaluation" in line) for line in told] == [
        *[(3, True, False), (4, False, True), (6, True, False), (8, False, True), (9, True, False), (10, True, True)],
    ]
    assert [line["epoch"] for line in told] == [1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("evaluation", [{"epochs": 1}, {"steps": 2}])
def test_a_run_without_progress_ends(
    tmp_path: Path, evaluation: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    config = with_test_pictures(
        tmp_path,
        run={"max_train_steps": 250, "checkpointing_steps": 3, "validation_steps": 100},
        evaluation=evaluation | {"patience": 2, "initial": True},
        optimizer={"learning_rate": 0.0},  # so that the metric does not improve
    )
    every = 3 if "epochs" in evaluation else 2
    with caplog.at_level(logging.INFO):
        unbroken = Trainer(config)
        unbroken.train()
    run = tmp_path / "run"
    assert unbroken.step == 2 * every
    assert f"Ends at step {2 * every}: no better swd since step 0" in caplog.text
    assert json.loads((run / "metrics.json").read_text())["step"] == 2 * every
    assert json.loads((run / "best" / "metrics.json").read_text())["step"] == 0
    told = lines(run / "epochs.jsonl")
    assert [line["step"] for line in told if "evaluation" in line] == [0, every, 2 * every]
    assert "train" in told[-1]  # the epoch as far as it went
    assert (run / "model_index.json").is_file()
    assert any(path.name.startswith(f"{2 * every:07d}") for path in (run / "samples").iterdir())

    # The same after an interruption: patience is counted by what is recorded.
    shutil.copytree(run, tmp_path / "unbroken")
    resumed = Trainer(config, run / "checkpoint-3")
    resumed.train()
    assert resumed.step == 2 * every
    for name in ("epochs.jsonl", "report.md", "metrics.json", "losses.json"):
        assert (run / name).read_text() == (tmp_path / "unbroken" / name).read_text(), name


def test_the_best_and_the_last_are_both_told(tmp_path: Path) -> None:
    Trainer(with_test_pictures(tmp_path, **EVERY, optimizer={"learning_rate": 0.0})).train()
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    best = json.loads((tmp_path / "run" / "best" / "metrics.json").read_text())
    assert metrics["step"] == 9
    assert metrics["best"] == {key: value for key, value in best.items() if key != "protocol"}
    assert metrics["best"]["step"] == 3  # none after it is better
    text = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert f"Last: {metrics['swd']:.4g} (step 9). Best: {best['swd']:.4g} (step 3)." in text
    cells = [f"{metrics[way]['swd']:.4g} ± {metrics['spread'][way]['swd']:.2g}" for way in ("a2b", "b2a")]
    assert f"| {' | '.join(cells)} | {metrics['swd']:.4g} |" in text
    losses = json.loads((tmp_path / "run" / "losses.json").read_text())
    assert set(losses) == {"train", "test"}
    assert {"total", "generator", "discriminator", "cycle", "accuracy_a", "accuracy_b"} == set(losses["test"])


def test_scores_in_training_are_those_of_the_command(tmp_path: Path) -> None:
    """The same measuring on the same pictures; the command also reads them itself."""
    write_domains(tmp_path / "domains", count=3, size=32)  # of the training's size: nothing is resized
    Trainer(with_test_pictures(tmp_path, run={"max_train_steps": 2}, evaluation={"epochs": 1})).train()
    run, data = tmp_path / "run", tmp_path / "domains"
    command = ["evaluate", "--model", str(run), "--data", str(data), "--output", str(tmp_path / "report")]
    assert main([*command, "--feature-network", "none", "--batch-size", "8", "--resamples", "0"]) == 0
    in_training, by_command = (
        json.loads((folder / "metrics.json").read_text()) for folder in (run, tmp_path / "report")
    )
    for way in ("a2b", "b2a"):
        for name in ("swd", "ssim", "color_distance", "diversity"):
            assert in_training[way][name] == pytest.approx(by_command[way][name], rel=1e-6), name
    assert by_command["protocol"]["model"]["step"] == 2
    protocols = [document["protocol"] for document in (in_training, by_command)]
    for part in ("pictures", "reference", "image_size", "swd", "software", "seed", "domains", "feature_network"):
        assert protocols[0][part] == protocols[1][part], part
    assert protocols[0]["model"] == {key: value for key, value in protocols[1]["model"].items() if key != "name"}
    assert set(in_training["spread"]["a2b"]) == {*in_training["a2b"], "swd"} - {"kid_std"}
    assert in_training["spread"]["a2b"]["swd"] > 0
    assert in_training["protocol"]["bootstrap"]["resamples"] == 100
    best = json.loads((run / "best" / "metrics.json").read_text())
    assert best["protocol"]["model"]["sha256"] == in_training["protocol"]["model"]["sha256"]  # evaluated once


def test_looking_changes_nothing(tmp_path: Path) -> None:
    generator = {"dropout_prob": 0.5, "norm_type": "batch"}
    first = Trainer(tiny_config(tmp_path, generator=generator, run={"max_train_steps": 7}))
    first.train()
    shutil.rmtree(tmp_path / "run")
    watched = {"max_train_steps": 7, "validation_steps": 1}
    data = {"test_a": str(tmp_path / "domains" / "testA"), "test_b": str(tmp_path / "domains" / "testB")}
    second = Trainer(
        tiny_config(tmp_path, generator=generator, run=watched, evaluation={"epochs": 1, "initial": True}, data=data)
    )
    second.train()
    assert largest_difference(weights(first.raw), weights(second.raw)) == 0


def test_a_run_with_a_plateau_and_adaptive_weights_resumes_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    config = with_test_pictures(
        tmp_path,
        run={"max_train_steps": 12, "checkpointing_steps": 5, "validation_steps": 2},
        evaluation={"epochs": 1},
        lr_scheduler={"type": "plateau", "patience": 0, "gamma": 0.5},
        losses={"adaptive": "dwa"},
        optimizer={"learning_rate": 1e-7},  # so small that the metric does not improve
    )
    unbroken = Trainer(config)
    unbroken.train()
    shutil.move(tmp_path / "run", tmp_path / "unbroken")
    shutil.copytree(tmp_path / "unbroken", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint-10")
    resumed = Trainer(config, tmp_path / "run" / "checkpoint-5")
    resumed.train()
    assert largest_difference(weights(unbroken.raw), weights(resumed.raw)) == 0
    rates = [line["learning_rate"] for line in lines(tmp_path / "run" / "log.jsonl") if "learning_rate" in line]
    # Evaluations after steps 3, 6, 9: the first sets the mark, each of the others halves the rate.
    assert [rates[step] for step in (0, 5, 6, 8, 9, 11)] == [1e-7, 1e-7, 5e-8, 5e-8, 2.5e-8, 2.5e-8]
    for name in ("log.jsonl", "epochs.jsonl", "report.md", "metrics.json", "best/metrics.json"):
        assert (tmp_path / "run" / name).read_text() == (tmp_path / "unbroken" / name).read_text(), name
    states = [
        torch.load(tmp_path / name / "checkpoint-10" / "training_state" / "state.pt", weights_only=True)
        for name in ("run", "unbroken")
    ]
    assert identical(*states)
    assert states[0]["processes"][0]["watch"]["epoch"]["count"] == 1  # one step into the fourth epoch


def test_the_best_is_replaced_whole(tmp_path: Path) -> None:
    trainer = Trainer(with_test_pictures(tmp_path, **EVERY))
    trainer.output_dir.mkdir()
    for value in (2.0, 1.0):
        trainer.save("best", {"swd": value})
        assert json.loads((tmp_path / "run" / "best" / "metrics.json").read_text()) == {"swd": value}
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["best"]


def test_the_best_of_a_run_that_never_reached_a_checkpoint_goes(tmp_path: Path) -> None:
    (tmp_path / "run" / "best").mkdir(parents=True)
    (tmp_path / "run" / "best" / "metrics.json").write_text('{"swd": 0}', encoding="utf-8")
    Trainer(with_test_pictures(tmp_path, **EVERY)).train()
    assert json.loads((tmp_path / "run" / "best" / "metrics.json").read_text())["swd"] > 0


def test_gms_with_a_feature_network(tmp_path: Path) -> None:
    network = save_network(tmp_path / "tiny.pt")
    config = with_test_pictures(
        tmp_path, run={"max_train_steps": 1}, evaluation={"epochs": 1, "metric": "gms", "inception": str(network)}
    )
    Trainer(config).train()
    best = json.loads((tmp_path / "run" / "best" / "metrics.json").read_text())
    for way in ("a2b", "b2a"):
        assert best[way]["gms"] == pytest.approx((best[way]["fid"] / best[way]["inception_score"]) ** 0.5)
    assert best["gms"] == (best["a2b"]["gms"] + best["b2a"]["gms"]) / 2
    assert best["spread"]["a2b"]["gms"] > 0
    assert best["protocol"]["inception_score"]["splits"] == {"a2b": 1, "b2a": 1}  # three pictures
    assert "tiny.pt" not in (tmp_path / "run" / "recipe.yaml").read_text()


@pytest.mark.parametrize("metric", ["fid", "kid"])
def test_other_figures_of_a_feature_network_choose_too(tmp_path: Path, metric: str) -> None:
    network = save_network(tmp_path / "tiny.pt")
    write_domains(tmp_path / "domains", count=10, size=32)
    evaluation = {"epochs": 1, "metric": metric, "inception": str(network)}
    Trainer(with_test_pictures(tmp_path, run={"max_train_steps": 1}, evaluation=evaluation)).train()
    best = json.loads((tmp_path / "run" / "best" / "metrics.json").read_text())
    assert best[metric] == (best["a2b"][metric] + best["b2a"][metric]) / 2
    assert best["protocol"]["feature_network"]["name"] == "tiny.pt"


def test_a_run_chooses_on_a_fifth_of_its_training_images_unasked(tmp_path: Path) -> None:
    write_domains(tmp_path / "domains", count=10, size=32)
    evaluation = {"epochs": 1, "split": "validation"}
    trainer = Trainer(tiny_config(tmp_path, run={"max_train_steps": 1}, evaluation=evaluation))
    assert [len(trainer.sources.validation[key]) for key in "ab"] == [2, 2]
    assert trainer.config.data.validation_share == 0.2
    untouched = tiny_config(tmp_path)
    assert with_validation_split(untouched).data.validation_share == 0  # nothing is chosen: nothing is held out
    streamed = tiny_config(tmp_path, evaluation=evaluation, data={"streaming": True})
    assert with_validation_split(streamed).evaluation.split == "test"


def test_images_that_chose_the_weights_are_no_test(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Trainer(with_test_pictures(tmp_path, run={"max_train_steps": 1}, evaluation={"epochs": 1})).train()
    best, data = tmp_path / "run" / "best", tmp_path / "domains"
    flags = ["--feature-network", "none", "--resamples", "0", "--gallery", "0"]

    def measured(folder: Path) -> dict[str, Any]:
        command = ["evaluate", "--model", str(best), "--data", str(folder), "--output", str(tmp_path / "report")]
        assert main([*command, *flags]) == 0
        return json.loads((tmp_path / "report" / "metrics.json").read_text())

    refused = measured(data)
    assert refused["protocol"]["split"] == "selection"
    assert "3 of the 3 images of a chose these weights" in refused["warnings"][0]
    assert "Images that chose the weights" in (tmp_path / "report" / "report.md").read_text()
    other = write_domains(tmp_path / "other", count=3, size=40)
    for folder in ("testA", "testB"):
        for path in (other / folder).iterdir():
            Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    assert measured(other)["protocol"]["split"] == "test"


def test_epochs_and_steps_exclude_one_another(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"`evaluation\.epochs` and `evaluation\.steps` exclude one another, got 1 and 2"
    ):
        tiny_config(tmp_path, evaluation={"epochs": 1, "steps": 2})


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            {"evaluation": {"epochs": 1, "metric": "gms"}},
            "or a file as `evaluation.feature_network`, or auto or a file as `evaluation.inception`, got none; "
            "`--evaluation.metric swd` needs none",
        ),
        (
            {"evaluation": {"epochs": 1, "metric": "gms", "inception": "none.pt"}},
            "or auto or a file as `evaluation.inception`, got none.pt; `--evaluation.metric swd` needs none",
        ),
        (
            {"evaluation": {"epochs": 1, "split": "validation"}, "data": {"validation_share": 0.0}},
            "set `data.validation_share`",
        ),
        (
            {"evaluation": {"epochs": 1, "metric": "kid"}},
            "`evaluation.metric: kid` needs at least 10 pictures of each",
        ),
        ({"lr_scheduler": {"type": "plateau"}}, "`evaluation.epochs` must be at least 1, got 0"),
        ({"evaluation": {"patience": 3}}, "`evaluation.patience` follows the evaluation's metric"),
        ({"evaluation": {"epochs": 1, "metric": "gms", "inception": "auto"}}, "offline: give their file"),
        (
            {"evaluation": {"epochs": 1, "metric": "fid", "feature_network": "efficientnet-lite0"}},
            "`evaluation.metric: fid` is not what this feature network gives",
        ),
        ({"evaluation": {"epochs": 1, "image_size": 24}}, "at least 25 pixels, got 24: set `evaluation.image_size`"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_at_the_start(
    tmp_path: Path, groups: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        Trainer(tiny_config(tmp_path, **groups))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_without_test_pictures_others_are_scored_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_config(tmp_path, **EVERY)
    assert Evaluator(config, load_sources(config.data)).split == "train"
    assert "No test pictures of both domains: the train ones are scored." in caplog.text
    config.data.validation_share = 0.34
    assert Evaluator(config, load_sources(config.data)).split == "validation"


def test_an_unreadable_picture_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = with_test_pictures(tmp_path, **EVERY)
    (tmp_path / "domains" / "testA" / "000.png").write_bytes(b"no picture")
    pipe = Trainer(config).pipeline()
    with caplog.at_level(logging.WARNING):
        scores = Evaluator(config, load_sources(config.data))(pipe)
    assert scores["swd"] > 0
    assert "Left out of the evaluation: " in caplog.text


def test_what_the_figures_suffer_from_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = save_network(tmp_path / "tiny.pt")
    evaluation = {"epochs": 1, "metric": "gms", "inception": str(network), "num_images": 2}
    config = with_test_pictures(tmp_path, evaluation=evaluation)
    evaluator, pipe = Evaluator(config, load_sources(config.data)), Trainer(config).pipeline()
    for _ in range(2):
        evaluator(pipe)
    assert caplog.text.count("a2b: KID is left out: it needs 10 images of each kind, there are 2") == 1
