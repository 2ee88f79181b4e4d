"""Saving and loading: whole files, every tensor accounted for, one-line errors."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cyclegan_hf import CycleGANPipeline, ImageProcessor, ResnetGenerator
from cyclegan_hf.hub import locate
from tests.testing_utils import make_picture


ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "generator_a2b/diffusion_pytorch_model.safetensors"


def resnet(**config):
    return ResnetGenerator(**{"block_out_channels": (4, 8, 16), "num_res_blocks": 1, **config}).eval()


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def pipe():
    processor = ImageProcessor(size=(48, 64), mean=(0.4, 0.5, 0.6), std=(0.3, 0.4, 0.5))
    return CycleGANPipeline(resnet(), resnet(), "summer", "winter", processor, processor)


@pytest.fixture
def saved(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_round_trip(pipe, saved):
    loaded = CycleGANPipeline.from_pretrained(saved)
    assert (loaded.config["domain_a"], loaded.config["domain_b"]) == ("summer", "winter")
    assert loaded.image_processor_a == pipe.image_processor_a
    assert not loaded.generator_a2b.training
    for name in ("generator_a2b", "generator_b2a"):
        expected = getattr(pipe, name).state_dict()
        for key, tensor in getattr(loaded, name).state_dict().items():
            assert torch.equal(tensor, expected[key])


def test_fresh_process_gives_identical_pictures(pipe, saved, tmp_path):
    picture = make_picture("A", 0, (53, 37))
    picture.save(tmp_path / "in.png")
    code = (
        "import sys, numpy as np\n"
        "from cyclegan_hf import CycleGANPipeline\n"
        "result = CycleGANPipeline.from_pretrained(sys.argv[1])(sys.argv[2], return_cycle=True, output_type='np')\n"
        "np.savez(sys.argv[3], image=result.images[0], cycle=result.cycles[0])\n"
    )
    arguments = [sys.executable, "-c", code, str(saved), str(tmp_path / "in.png"), str(tmp_path / "out.npz")]
    subprocess.run(arguments, check=True, cwd=ROOT)
    fresh = np.load(tmp_path / "out.npz")
    here = pipe(picture, return_cycle=True, output_type="np")
    np.testing.assert_array_equal(fresh["image"], here.images[0])
    np.testing.assert_array_equal(fresh["cycle"], here.cycles[0])


def test_loading_and_saving_again_gives_the_same_bytes(saved, tmp_path):
    CycleGANPipeline.from_pretrained(saved).save_pretrained(tmp_path / "again")
    assert files(tmp_path / "again") == files(saved)
    for name in files(saved):
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes(), name


def test_what_is_saved(saved):
    assert files(saved) == [
        WEIGHTS.replace("diffusion_pytorch_model.safetensors", "config.json"),
        WEIGHTS,
        "generator_b2a/config.json",
        WEIGHTS.replace("a2b", "b2a"),
        "model_index.json",
        "pipeline.py",
    ]
    index = json.loads((saved / "model_index.json").read_text())
    assert index["image_processor_a"]["size"] == [48, 64]
    assert str(saved) not in "".join(path.read_text() for path in saved.rglob("*.json"))


@pytest.mark.parametrize(("umask", "rights"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_have_the_rights_that_new_files_have(pipe, tmp_path, umask, rights):
    before = os.umask(umask)
    try:
        pipe.save_pretrained(tmp_path / "model")  # a new folder
        pipe.save_pretrained(tmp_path)  # one that exists
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o777 == (rights | 0o111 & ~umask if path.is_dir() else rights), path


def test_one_direction(tmp_path):
    pipe = CycleGANPipeline(generator_b2a=resnet())
    pipe.save_pretrained(tmp_path)
    assert not (tmp_path / "generator_a2b").exists()
    loaded = CycleGANPipeline.from_pretrained(tmp_path)
    assert loaded.generator_a2b is None
    picture = make_picture("B", 0)
    np.testing.assert_array_equal(loaded(picture, "b2a").images[0], pipe(picture, "b2a").images[0])
    with pytest.raises(ValueError, match="no `generator_a2b`"):
        loaded(picture)


def test_half_precision_files(pipe, tmp_path):
    picture = make_picture("A", 0)
    expected = pipe(picture, output_type="np").images[0]
    pipe.to(torch.float16).save_pretrained(tmp_path)
    assert load_file(tmp_path / WEIGHTS)["conv_in.1.weight"].dtype == torch.float16
    loaded = CycleGANPipeline.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float32
    np.testing.assert_allclose(loaded(picture, output_type="np").images[0], expected, atol=2e-3)
    assert CycleGANPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_variant_stands_beside_the_default(pipe, saved):
    pipe.to(torch.float16).save_pretrained(saved, variant="fp16")
    assert (saved / WEIGHTS).is_file()
    assert (saved / WEIGHTS.replace(".safetensors", ".fp16.safetensors")).is_file()
    CycleGANPipeline.from_pretrained(saved, variant="fp16")
    with pytest.raises(ValueError, match=r"diffusion_pytorch_model\.ema\.safetensors"):
        CycleGANPipeline.from_pretrained(saved, variant="ema")


def test_no_warnings_and_no_bars_on_the_way(saved, capfd):
    CycleGANPipeline.from_pretrained(saved, dtype=torch.bfloat16)
    assert capfd.readouterr().err == ""


# Where from


def test_subfolder(saved):
    (saved.parent / "run").mkdir()
    saved.rename(saved.parent / "run" / "best")
    assert CycleGANPipeline.from_pretrained(saved.parent / "run", subfolder="best").config["domain_b"] == "winter"
    with pytest.raises(ValueError, match=r"no model_index\.json"):
        CycleGANPipeline.from_pretrained(saved.parent / "run")


@pytest.mark.parametrize("subfolder", [None, "best"])
def test_hub_id_from_the_cache(saved, tmp_path, subfolder):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "cache" / "models--user--summer2winter"
    snapshot = repository / "snapshots" / commit
    shutil.copytree(saved, snapshot / subfolder if subfolder else snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    options = {"cache_dir": tmp_path / "cache", "local_files_only": True, "subfolder": subfolder}
    pipe = CycleGANPipeline.from_pretrained("user/summer2winter", **options)
    assert pipe.config["domain_a"] == "summer"
    assert CycleGANPipeline.from_pretrained("user/summer2winter", revision=commit, **options).dtype == torch.float32
    for name, revision in (("user/summer2winter", "v2"), ("user/other", None)):
        with pytest.raises(ValueError, match=f"{name}: there is no such folder here; .* in the cache") as caught:
            CycleGANPipeline.from_pretrained(name, revision=revision, **options)
        assert "\n" not in str(caught.value)


def test_without_an_argument_the_bundled_weights(monkeypatch, saved, tmp_path):
    monkeypatch.setattr(locate, "PRETRAINED_FOLDER", saved)
    assert CycleGANPipeline.from_pretrained().config["domain_a"] == "summer"
    monkeypatch.setattr(locate, "PRETRAINED_FOLDER", tmp_path / "none")
    with pytest.raises(ValueError, match="the bundled weights: expected a saved pipeline"):
        CycleGANPipeline.from_pretrained()


@pytest.mark.parametrize("model", ["./gone", "/gone/model", "~/gone", "a/b/c", "gone", Path("gone/model")])
def test_no_such_folder(model):
    with pytest.raises(ValueError, match="no such folder"):
        CycleGANPipeline.from_pretrained(model)


def test_a_file_is_no_folder(saved):
    with pytest.raises(ValueError, match="got a file"):
        CycleGANPipeline.from_pretrained(saved / "model_index.json")


@pytest.mark.parametrize(
    ("keyword", "words"),
    [
        ("sub_folder", "did you mean `subfolder`"),
        ("revison", "did you mean `revision`"),
        ("local_file_only", "did you mean `local_files_only`"),
        ("generator_ab", "did you mean `generator_a2b`"),
        ("quantization_config", "expected one of .*variant"),  # nothing is near
    ],
)
def test_an_unknown_keyword_names_a_near_one(saved, keyword, words):
    with pytest.raises(ValueError, match=f"`{keyword}`; {words}") as caught:
        CycleGANPipeline.from_pretrained(saved, **{keyword: None})
    assert "\n" not in str(caught.value)


# Damaged and foreign files


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without_a_tensor(folder):
    state = load_file(folder / WEIGHTS)
    state.pop("conv_in.1.weight")
    save_file(state, folder / WEIGHTS)


def with_another_tensor(folder):
    save_file({**load_file(folder / WEIGHTS), "extra.weight": torch.zeros(1)}, folder / WEIGHTS)


DAMAGE = {
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), r"found config\.json in its folder"),
    "pickled weights": (
        lambda folder: (folder / WEIGHTS).rename(folder / "generator_a2b/diffusion_pytorch_model.bin"),
        r"expected a safetensors file, found config\.json, diffusion_pytorch_model\.bin",
    ),
    "cut weights": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:2000]),
        "cannot load",
    ),
    "pointer": (
        lambda folder: (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1"),
        "cannot load",
    ),
    "tensor missing": (without_a_tensor, r"Missing key.*conv_in\.1\.weight"),
    "tensor left over": (with_another_tensor, r"Unexpected key.*extra\.weight"),
    "other shape": (
        lambda folder: edit(folder / "generator_a2b/config.json", block_out_channels=[4, 8, 8]),
        "size mismatch",
    ),
    "unknown setting of a generator": (
        lambda folder: edit(folder / "generator_a2b/config.json", ngf=64),
        "unexpected keyword argument 'ngf'",
    ),
    "no config": (
        lambda folder: (folder / "generator_a2b/config.json").unlink(),
        r"config\.json: expected a JSON file",
    ),
    "broken index": (lambda folder: (folder / "model_index.json").write_text("{"), r"expected a JSON file"),
    "index is a list": (lambda folder: (folder / "model_index.json").write_text("[]"), "JSON object, got list"),
    "other pipeline": (
        lambda folder: edit(folder / "model_index.json", _class_name="StableDiffusionPipeline"),
        "expected a saved CycleGANPipeline, got 'StableDiffusionPipeline'",
    ),
    "setting of a later version": (lambda folder: edit(folder / "model_index.json", tiling=1), "setting `tiling`"),
    "foreign code": (
        lambda folder: edit(folder / "model_index.json", generator_a2b=["antigravity", "Net"]),
        "expected a model of `cyclegan_hf.models",
    ),
    "unknown class": (
        lambda folder: edit(folder / "model_index.json", generator_a2b=["cyclegan_hf.models.generator_resnet", "V9"]),
        "no model `cyclegan_hf.models.generator_resnet.V9`",
    ),
    "not a model": (
        lambda folder: edit(folder / "model_index.json", generator_a2b=["cyclegan_hf.models.layers", "make_norm"]),
        "no model `cyclegan_hf.models.layers.make_norm`",
    ),
    "no component path": (lambda folder: edit(folder / "model_index.json", generator_a2b="resnet"), "generator_a2b"),
    "a billion blocks": (
        lambda folder: edit(folder / "generator_a2b/config.json", num_res_blocks=10**9),
        r"config\.json asks for .* the weight file holds",
    ),
    "a hundred thousand levels": (
        lambda folder: edit(folder / "generator_a2b/config.json", block_out_channels=[1] * 100_000),
        r"config\.json asks for",
    ),
    "terabytes of channels": (
        lambda folder: edit(folder / "generator_a2b/config.json", block_out_channels=[20_000] * 3),
        r"config\.json asks for",
    ),
    "deeply nested": (
        lambda folder: (folder / "generator_a2b/config.json").write_text("[" * 100_000),
        "expected a JSON file",
    ),
    "deeply nested index": (lambda folder: (folder / "model_index.json").write_text('{"a":' * 99_999), "JSON file"),
    "a pipe": (
        lambda folder: [
            (folder / "generator_a2b/config.json").unlink(),
            os.mkfifo(folder / "generator_a2b/config.json"),
        ],
        "got a folder, pipe or device",
    ),
    "weights that are a device": (
        lambda folder: [(folder / WEIGHTS).unlink(), (folder / WEIGHTS).symlink_to("/dev/zero")],
        "expected a safetensors file",
    ),
    "no processor": (
        lambda folder: edit(folder / "model_index.json", image_processor_a=True),
        "expected an image processor's settings",
    ),
    "a number of means": (
        lambda folder: edit(folder / "model_index.json", image_processor_a={"mean": 1.5}),
        "image processor settings",
    ),
    "wrong processor": (
        lambda folder: edit(folder / "model_index.json", image_processor_a={"chanels": 3}),
        "unknown image processor setting",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_folders_are_refused_in_one_line(saved, damage):
    change, words = DAMAGE[damage]
    change(saved)
    with pytest.raises(ValueError, match=words) as caught:
        CycleGANPipeline.from_pretrained(saved)
    assert "\n" not in str(caught.value)


# Saving all or nothing


def test_saving_keeps_other_files_and_leaves_nothing_behind(pipe, saved):
    (saved / "README.md").write_text("card")
    (saved / "checkpoint-100").mkdir()
    pipe.save_pretrained(saved)
    assert sorted(path.name for path in saved.iterdir()) == [
        "README.md",
        "checkpoint-100",
        "generator_a2b",
        "generator_b2a",
        "model_index.json",
        "pipeline.py",
    ]
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_saving_over_the_folder_one_was_loaded_from(saved):
    loaded = CycleGANPipeline.from_pretrained(saved)
    expected = {key: tensor.clone() for key, tensor in loaded.generator_a2b.state_dict().items()}
    loaded.save_pretrained(saved)
    for state in (
        loaded.generator_a2b.state_dict(),
        CycleGANPipeline.from_pretrained(saved).generator_a2b.state_dict(),
    ):
        assert all(torch.equal(tensor, expected[key]) for key, tensor in state.items())


def test_saved_folders_have_ordinary_permissions(saved):
    (saved.parent / "ordinary").mkdir()
    assert saved.stat().st_mode == (saved.parent / "ordinary").stat().st_mode


@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_changes_nothing(saved, tmp_path, existing):
    """A limit on file sizes stands in for the full disk: writing fails half-way in the same places."""
    target = saved if existing else tmp_path / "new"
    before = {name: (saved / name).read_bytes() for name in files(saved)}
    code = (
        "import resource, signal, sys\n"
        "from cyclegan_hf import CycleGANPipeline, ResnetGenerator\n"
        "pipe = CycleGANPipeline(ResnetGenerator(block_out_channels=(4, 8, 16), num_res_blocks=9))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    pipe.save_pretrained(sys.argv[1])\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    arguments = [sys.executable, "-c", code, str(target)]
    result = subprocess.run(arguments, check=True, cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.startswith(f"could not save to {target}: ")
    assert result.stdout.count("\n") == 1
    assert {name: (saved / name).read_bytes() for name in files(saved)} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_saving_to_a_file_or_as_pickle_is_refused(pipe, tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "picture.png")
    with pytest.raises(ValueError, match="got a file"):
        pipe.save_pretrained(tmp_path / "picture.png")
    with pytest.raises(ValueError, match="safetensors only"):
        pipe.save_pretrained(tmp_path / "model", safe_serialization=False)
