"""Recipe, checkpoint and flags: which one decides."""

from pathlib import Path

import pytest

from cyclegan_hf.training.command import parse_command
from cyclegan_hf.training.config import TrainConfig, recipe_path
from tests.training.tiny import write_recipe


DATA_FLAGS = ["--data.a", "A", "--data.b", "B"]


def parse(*arguments: object) -> TrainConfig:
    return parse_command([str(argument) for argument in arguments])[0]


def write_checkpoint(folder: Path, config: TrainConfig) -> Path:
    """What the command reads of a checkpoint."""
    (folder / "training_state").mkdir(parents=True)
    (folder / "training_state" / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    (folder / "training_state" / "run.json").write_text("{}", encoding="utf-8")
    return folder


def test_flags_go_on_top_of_the_recipe(tmp_path: Path) -> None:
    recipe = TrainConfig.from_yaml(recipe_path("summer2winter"))
    config = parse("--recipe", "summer2winter", *DATA_FLAGS, "--output-dir", tmp_path, "--losses.lambda-a", 3)
    assert config.losses.lambda_a == 3
    assert config.losses.lambda_b == recipe.losses.lambda_b
    assert config.generator == recipe.generator
    assert (config.data.a, config.data.b, config.run.output_dir) == ("A", "B", str(tmp_path))


def test_the_flags_have_the_fields_usual_names(tmp_path: Path) -> None:
    config = parse(
        *("--output-dir", tmp_path, "--max-train-steps", 7, "--num-train-epochs", 3, "--train-batch-size", 2),
        *("--gradient-accumulation-steps", 4, "--mixed-precision", "bf16", "--seed", 5, "--checkpointing-steps", 6),
        *("--checkpoints-total-limit", 2, "--validation-steps", 8, "--report-to", "none", "--warm-start", "me/x"),
        *("--data.a", "A", "--data.b", "B", "--data.test-a", "TA", "--data.test-b", "TB", "--data.image-size", 128),
        *("--data.load-size", 140, 150, "--compile", "--no-channels-last", "--optimizer.learning_rate", "1e-4"),
    )
    run, data = config.run, config.data
    assert (run.max_train_steps, run.num_train_epochs, run.train_batch_size) == (7, 3, 2)
    assert (run.gradient_accumulation_steps, run.mixed_precision, run.seed) == (4, "bf16", 5)
    assert (run.checkpointing_steps, run.checkpoints_total_limit, run.validation_steps) == (6, 2, 8)
    assert (run.report_to, run.warm_start, run.compile, run.channels_last) == ("none", "me/x", True, False)
    assert (data.a, data.b, data.test_a, data.test_b) == ("A", "B", "TA", "TB")
    assert (data.image_size, data.load_size, config.optimizer.learning_rate) == (128, (140, 150), 1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--max-train-step", "5", *DATA_FLAGS],
            "unknown option `--max-train-step`; did you mean `--max-train-steps`",
        ),
        (
            ["--data.imagesize", "5", *DATA_FLAGS],
            "unknown option `--data.imagesize`; did you mean `--data.image-size`",
        ),
        (["--train-batch-size", "two", *DATA_FLAGS], "--train-batch-size.*'two'"),
        (["--mixed-precision", "fp8", *DATA_FLAGS], "invalid choice 'fp8'"),
        (
            ["--data.image-size", "512", "--data.load-size", "9", "9", *DATA_FLAGS],
            "`data.load_size` must be .* 512",
        ),
        (["--data.image-size", "1000000", *DATA_FLAGS], "`data.load_size` must be at most"),
        (["--resume-from-checkpoint", "latest"], "run does not exist.*`auto`"),
        (["--recipe", "face2cartoon_attention", "--num-train-epochs", "3", *DATA_FLAGS], "--stages.epochs"),
        (["--recipe"], "--recipe"),
        (["--recipe", "sumer2winter", *DATA_FLAGS], "There is no recipe 'sumer2winter'. Did you mean"),
        (["--recipe", "my/recipe.yaml", *DATA_FLAGS], "Expected a recipe at my/recipe.yaml, found no file"),
        ([], "`--data.a` is missing"),
        (["--data.a", "A"], "`--data.b` is missing"),
        (["--resume-from-checkpoint", "checkpoint-7", *DATA_FLAGS], "checkpoint-7 is none"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as error:
        parse("--output-dir", tmp_path / "run", *arguments)
    assert "\n" not in str(error.value)
    assert "│" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_help_shows_examples_and_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse_command(["--help"])
    assert not stop.value.code
    text = capsys.readouterr().out
    assert "accelerate launch training/train.py --recipe few_images --data.a A --data.b B" in text
    assert "--resume-from-checkpoint latest" in text
    assert "--optimizer.learning-rate" in text


def test_a_folder_with_an_earlier_run_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "run" / "checkpoint-20", TrainConfig())
    with pytest.raises(ValueError, match=r"holds checkpoint-20 of an earlier run: .*--resume-from-checkpoint latest"):
        parse(*DATA_FLAGS, "--output-dir", tmp_path / "run")
    mine = write_recipe(tmp_path / "mine.yaml", run={"output_dir": str(tmp_path / "run")})
    with pytest.raises(
        ValueError, match="holds checkpoint-20 of an earlier run"
    ):  # the folder may come from the recipe
        parse("--recipe", mine, *DATA_FLAGS)


def test_a_finished_pipeline_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}", encoding="utf-8")
    for resume in ([], ["--resume-from-checkpoint", "latest"], ["--resume-from-checkpoint", "auto"]):
        with pytest.raises(ValueError, match="holds a finished pipeline"):
            parse(*DATA_FLAGS, "--output-dir", tmp_path, *resume)


def test_the_output_folder_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"`--output-dir` must be a folder; .*run is a file"):
        parse(*DATA_FLAGS, "--output-dir", tmp_path / "run")


def test_resuming_takes_the_checkpoints_configuration_with_flags_on_top(tmp_path: Path) -> None:
    saved = TrainConfig()
    saved.run.output_dir, saved.data.a, saved.data.b = str(tmp_path), "A", "B"
    saved.losses.lambda_a, saved.run.max_train_steps = 7.0, 100
    saved.generator = {"_class_name": "ResnetGenerator", "num_res_blocks": 3}
    write_checkpoint(tmp_path / "checkpoint-9", saved)
    newest = write_checkpoint(tmp_path / "checkpoint-10", saved)
    (tmp_path / "checkpoint-11").mkdir()  # not complete

    flags = ["--recipe", "summer2winter", "--output-dir", tmp_path, "--max-train-steps", 200]
    config, checkpoint = parse_command([*map(str, flags), "--resume-from-checkpoint", "latest"])
    assert checkpoint == newest
    assert (config.losses.lambda_a, config.run.max_train_steps, config.data.a) == (7.0, 200, "A")
    assert config.generator == saved.generator
    assert config.run.resume_from_checkpoint is None

    by_path, checkpoint = parse_command(["--resume-from-checkpoint", str(newest)])
    assert checkpoint == newest
    assert by_path.run.output_dir == str(tmp_path)
    assert parse_command(["--resume-from-checkpoint=checkpoint-10", f"--output_dir={tmp_path}"])[1] == newest


def test_an_earlier_stretch_is_not_mixed_with_a_later_one(tmp_path: Path) -> None:
    for step in (9, 10):
        write_checkpoint(tmp_path / f"checkpoint-{step}", TrainConfig())
    resume = [*DATA_FLAGS, "--resume-from-checkpoint", str(tmp_path / "checkpoint-9")]
    with pytest.raises(ValueError, match="holds checkpoint-10 of an earlier run"):
        parse(*resume, "--output-dir", tmp_path)
    assert parse(*resume, "--output-dir", tmp_path / "other").run.output_dir == str(tmp_path / "other")


def test_auto_begins_where_there_is_no_checkpoint_yet_and_latest_does_not(tmp_path: Path) -> None:
    words = ["--recipe", "summer2winter", *DATA_FLAGS, "--output-dir", str(tmp_path / "runs" / "s2w")]
    config, checkpoint = parse_command([*words, "--resume-from-checkpoint", "auto"])
    assert checkpoint is None
    assert config.run.recipe == "summer2winter"
    (tmp_path / "runs" / "s2w_").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"s2w does not exist\. Did you mean .*s2w_\?"):
        parse_command([*words, "--resume-from-checkpoint", "latest"])
    newest = write_checkpoint(tmp_path / "runs" / "s2w" / "checkpoint-9", config)
    assert parse_command([*words, "--resume-from-checkpoint", "auto"])[1] == newest


@pytest.mark.parametrize(
    ("flags", "length"),
    [
        (["--num-train-epochs", 400], ("epoch", 200)),
        (["--max-train-steps", 50], ("epoch", 200)),
        (["--num-train-epochs", 200], None),
        ([], None),
        (["--num-train-epochs", 400, "--lr-scheduler.decay", 300], None),
    ],
)
def test_a_schedule_is_for_the_recipes_length_unless_flags_set_it(
    flags: list[object], length: object, tmp_path: Path
) -> None:
    config = parse("--recipe", "summer2winter", *DATA_FLAGS, "--output-dir", tmp_path, *flags)
    assert config.run.recipe_length == length
    assert "recipe_length" not in config.to_yaml()


def test_a_recipe_without_a_schedule_takes_the_defaults_in_proportion(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "mine.yaml", run={"max_train_steps": None, "num_train_epochs": 50})
    assert parse("--recipe", recipe, *DATA_FLAGS, "--output-dir", tmp_path / "run").run.recipe_length == ("epoch", 200)


def test_epochs_replace_the_recipes_steps(tmp_path: Path) -> None:
    config = parse("--recipe", "summer2winter_best", *DATA_FLAGS, "--output-dir", tmp_path, "--num-train-epochs", 3)
    assert (config.run.max_train_steps, config.run.num_train_epochs) == (None, 3)
    assert config.run.recipe_length == ("step", 1200)


@pytest.mark.parametrize(
    ("flags", "speed"),
    [
        ([], (None, True, True)),
        (["--no-fast"], ("no", False, False)),
        (["--no-fast", "--mixed-precision", "bf16"], ("bf16", False, False)),
        (["--no-fast", "--compile"], ("no", True, False)),
        (["--mixed-precision", "no"], ("no", True, True)),
    ],
)
def test_no_fast_is_fp32_whatever_the_recipe_says(flags: list[str], speed: tuple, tmp_path: Path) -> None:
    recipe = TrainConfig.from_yaml(recipe_path("summer2winter_light")).run
    assert (recipe.mixed_precision, recipe.compile, recipe.channels_last) == ("bf16", True, True)
    run = parse("--recipe", "summer2winter_light", *DATA_FLAGS, "--output-dir", tmp_path, *flags).run
    assert (run.mixed_precision, run.compile, run.channels_last) == (speed[0] or "bf16", *speed[1:])


@pytest.mark.parametrize(
    ("recipe", "size", "load_size"),
    [
        ("summer2winter_light", 96, (96, 144)),
        ("summer2winter_light", 384, (384, 576)),
        ("summer2winter", 512, (572,) * 2),
    ],
)
def test_the_size_of_the_crops_carries_the_load_size_along(
    recipe: str, size: int, load_size: tuple, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    words = ["--recipe", recipe, *DATA_FLAGS, "--output-dir", tmp_path, "--data.image-size", size]
    assert parse(*words).data.load_size == load_size
    assert "`data.load_size` is" in caplog.text
    assert parse(*words, "--data.load-size", 600, 700).data.load_size == (600, 700)


def test_a_recipe_that_sets_the_crops_alone_loads_in_proportion(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("data: {image_size: 128}")
    assert TrainConfig.from_yaml(tmp_path / "mine.yaml").data.load_size == (143, 143)


def test_another_recipe_on_resume_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved = TrainConfig()
    saved.data.a, saved.data.b = "A", "B"
    write_checkpoint(tmp_path / "checkpoint-9", saved)
    words = ["--output-dir", tmp_path, "--resume-from-checkpoint", "latest", "--losses.lambda-a", 7]
    parse(*words)
    assert caplog.text == ""
    assert parse(*words, "--recipe", "summer2winter_best").losses.lambda_b == 10
    (record,) = caplog.records
    assert "losses.lambda_b: 10.0, in the recipe 1.0" in record.getMessage()
    assert "lambda_a" not in record.getMessage()
