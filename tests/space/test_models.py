"""The models of the page: who may use which, what stays loaded, and that large photos have no seams."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_hf import CycleGANPipeline, ResnetGenerator
from tests.official.official_networks import Unet, randomized, small_resnet
from tests.official.official_networks import save as save_official
from tests.space.modules import page_module
from tests.testing_utils import noise


def save(folder: Path, **settings: Any) -> Path:
    settings = {"block_out_channels": (4, 8), "num_res_blocks": 1, "upsample_type": "resize_conv", **settings}
    generators = [ResnetGenerator(**settings) for _ in range(2)]
    CycleGANPipeline(*generators, domain_a="horse", domain_b="zebra").save_pretrained(folder)
    return folder


@pytest.fixture
def shelf(tmp_path: Path) -> Any:
    """Three models, and memory for two."""
    sources = [str(save(tmp_path / name)) for name in ("one", "two", "three")]
    shelf = page_module("shelf").Shelf(sources, budget=0)
    shelf.budget = 2 * shelf.first.size
    return shelf


def test_a_model_is_called_by_its_folder_and_never_by_its_path(shelf: Any) -> None:
    assert list(shelf.checkpoints) == ["one", "two", "three"]
    assert shelf.find("").name == shelf.find(None).name == "one"
    assert shelf.first.labels == {"a2b": "Horse → Zebra", "b2a": "Zebra → Horse"}
    assert shelf.first.source not in page_module("tabs.models").facts_table(shelf.first)


@pytest.mark.parametrize("name", ["four", "../one", "user/name", "/etc", "one "])
def test_what_the_owner_did_not_list_is_refused(shelf: Any, name: str) -> None:
    with pytest.raises(page_module("uploads").Refusal, match="must be one of one, two, three"):
        shelf.find(name)


@pytest.mark.parametrize("name", ["../one", "/etc/passwd", "a/b/c", "", "a" * 300, "a/..b"])
def test_a_free_field_takes_ids_and_no_folders(shelf: Any, name: str) -> None:
    shelf.any_model = True
    with pytest.raises(page_module("uploads").Refusal, match="such as user/name"):
        shelf.find(name) if name else shelf._admit(name)


def test_a_free_field_does_not_tell_which_folders_there_are(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "tester/there")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "huggingface_hub.HfApi.model_info", lambda *_, **__: SimpleNamespace(siblings=[], sha="0" * 40)
    )
    shelf.any_model = True
    answers = []
    for name in ("tester/there", "tester/gone"):
        with pytest.raises(page_module("uploads").Refusal) as refusal:
            shelf.find(name)
        answers.append(str(refusal.value.message).replace(name, "NAME"))
    assert answers[0] == answers[1]


def test_graphs_are_the_owners_alone(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    page, uploads = page_module("shelf"), page_module("uploads")
    folder, photo = save(tmp_path / "one"), Image.fromarray(noise(32, 32))
    for name in ("generator_a2b", "generator_b2a"):
        (folder / name / "model.onnx").write_bytes(b"a program of strangers")
    shelf = page.Shelf([str(folder)], budget=10**9)
    assert shelf.first.has_graphs
    with pytest.raises(uploads.Refusal, match="The translation failed"):  # the owner's graphs are read
        shelf.translate(shelf.first, [photo], "a2b")
    visitors = page_module("checkpoints").Checkpoint.look_up("user/name", str(folder))
    ((found,),) = shelf.translate(visitors, [photo], "a2b")
    expected = CycleGANPipeline.from_pretrained(folder).optimize()(photo).images[0]
    assert np.abs(np.asarray(found, int) - np.asarray(expected, int)).max() <= 1


def test_the_oldest_model_goes_when_memory_is_short(shelf: Any) -> None:
    photo = Image.fromarray(noise(32, 32))
    assert shelf.loaded == []
    steps = {"one": ["one"], "two": ["one", "two"], "one again": ["two", "one"], "three": ["one", "three"]}
    for step, loaded in steps.items():
        name = step.split()[0]
        shelf.translate(shelf.find(name), [photo], "a2b")
        assert shelf.loaded == loaded
    shelf.budget = 0
    shelf.translate(shelf.find("two"), [photo], "a2b")
    assert shelf.loaded == ["two"]


def test_a_model_that_is_missing_is_left_out_unless_it_is_the_first(tmp_path: Path) -> None:
    one = str(save(tmp_path / "one"))
    shelf_class = page_module("shelf").Shelf
    assert list(shelf_class([one, str(tmp_path / "none")], budget=0).checkpoints) == ["one"]
    with pytest.raises(ValueError, match="expected a pipeline's folder or a Hub id"):
        shelf_class([str(tmp_path / "none"), one], budget=0)


def test_another_class_than_a_generator_is_refused(tmp_path: Path) -> None:
    config = save(tmp_path / "one") / "generator_a2b/config.json"
    config.write_text(config.read_text().replace("ResnetGenerator", "convert_official_checkpoint"))
    with pytest.raises(ValueError, match="expected a generator of this library"):
        page_module("shelf").Shelf([str(tmp_path / "one")], budget=0)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("num_res_blocks", 100_000, "out of range"),
        ("num_res_blocks", 1e5, "out of range"),
        ("num_res_blocks", 50, "of a larger network"),
        ("block_out_channels", [4] * 300, "out of range"),
    ],
)
def test_settings_of_a_larger_network_than_its_weights_are_seen_before_it_is_built(
    tmp_path: Path, key: str, value: Any, words: str
) -> None:
    config = save(tmp_path / "one") / "generator_a2b/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {key: value}))
    checkpoint = page_module("checkpoints").Checkpoint.look_up("one", str(tmp_path / "one"))
    with pytest.raises(ValueError, match=f"settings {words}"):
        checkpoint.check_sizes()


def test_facts_are_text_and_never_markup(tmp_path: Path) -> None:
    folder = save(tmp_path / "one")
    (folder / "metrics.json").write_text('{"a2b": {"<img src=x>": 0.5, "ssim": "<b>"}, "baselines": "<script>"}')
    index = json.loads((folder / "model_index.json").read_text()) | {"domain_a": "<script>alert(1)</script>"}
    (folder / "model_index.json").write_text(json.dumps(index))
    tab, checkpoint = page_module("tabs.models"), page_module("checkpoints").Checkpoint.look_up("one", str(folder))
    table = tab.facts_table(checkpoint) + tab.figures_of(checkpoint)
    assert "&lt;script&gt;" in table
    assert "<script" not in table and "<img" not in table


@pytest.mark.parametrize("size", [(250, 131), (96, 320)])
def test_a_photo_in_pieces_is_as_if_translated_whole(size: tuple[int, int]) -> None:
    settings = {"block_out_channels": (4, 8), "num_res_blocks": 1, "norm_type": "none", "upsample_type": "resize_conv"}
    generators = [ResnetGenerator(**settings) for _ in range(2)]
    for generator in generators:
        for parameter in generator.parameters():
            torch.nn.init.normal_(parameter, std=0.1)  # small weights would hide the seams
    pipeline = CycleGANPipeline(*generators)

    def run(picture: Image.Image) -> list[Image.Image]:
        output = pipeline(picture, return_cycle=True)
        return [*output.images, *output.cycles]

    photo = Image.fromarray(noise(size[1], size[0]))
    reach = 2 * generators[0].receptive_radius
    pieces = page_module("pieces").Pieces(photo, reach, multiple=generators[0].size_multiple, most=160**2)
    assert len(pieces.tiles) > 1
    for tile in pieces.tiles:
        pieces.paste(tile, run(pieces.crop(tile)))
    for piece, whole in zip(pieces.results(), run(photo), strict=True):
        assert piece.size == photo.size
        assert np.abs(np.asarray(piece, int) - np.asarray(whole, int)).max() <= 1


def test_a_difference_map_is_black_where_nothing_changed() -> None:
    before = Image.new("RGB", (8, 4), (10, 20, 30))
    after = before.copy()
    after.paste((74, 84, 94), (4, 0, 8, 4))
    heat, mean = page_module("uploads").difference_map(before, after)
    assert mean == 32
    assert heat.getpixel((0, 0)) == (0, 0, 0)
    assert min(heat.getpixel((7, 0))) > 190  # 64 levels: pale yellow


def test_a_card_brings_its_licence_and_text_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    folder = save(tmp_path / "one")
    (folder / "README.md").write_text(
        "---\nlicense: cc-by-4.0\n---\n# Zebras\nFID 12.5 ![shot](https://x.org/a.png) ![b][c]\n"
        "<img\nsrc='https://x.org/b.png'> <script>1</script>\n\n[c]: https://x.org/c.png\n"
    )
    checkpoint = page_module("checkpoints").Checkpoint.look_up("one", str(folder))
    tab = page_module("tabs.models")
    assert "<th scope='row'>Licence</th><td>cc-by-4.0</td>" in tab.facts_table(checkpoint)
    text = tab.plain_markdown(checkpoint.card)
    assert text.startswith("# Zebras\nFID 12.5 ")
    assert "![" not in text and "<" not in text and "license" not in text
    (folder / "README.md").write_text("---\n{: [\n---\n# Zebras")
    again = page_module("checkpoints").Checkpoint.look_up("one", str(folder))
    assert tab.metadata(again) == {} and tab.plain_markdown(again.card) == "# Zebras"


def test_a_photo_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf_module = page_module("shelf")
    shelf = shelf_module.Shelf([str(save(tmp_path / "one", norm_type="none"))], budget=10**9)
    for name in ("WHOLE_BYTES", "PIECE_BYTES"):
        monkeypatch.setattr(shelf_module, name, 160**2 * shelf.first.bytes_per_pixel)
    photo = Image.fromarray(noise(300, 300))
    ((whole,),) = shelf.translate(shelf.first, [photo], "a2b")
    assert whole.size == photo.size
    monkeypatch.setattr(shelf_module, "PHOTO_SECONDS", 0)
    with pytest.raises(page_module("uploads").Refusal, match="takes longer than 0 seconds here"):
        shelf.translate(shelf.first, [photo], "a2b")


# The official code's files


def test_an_official_checkpoint_is_a_model_like_any_other(tmp_path: Path) -> None:
    folder = tmp_path / "summer2winter_yosemite"
    folder.mkdir()
    for key, seed in (("G_A", 1), ("G_B", 2)):
        save_official(folder / f"latest_net_{key}.pth", small_resnet(seed))
    shelf = page_module("shelf").Shelf([str(folder)], budget=10**9)
    assert shelf.first.labels == {"a2b": "Summer → Winter", "b2a": "Winter → Summer"}
    table = page_module("tabs.models").facts_table(shelf.first)
    for words in (
        "ResnetGenerator, 0.0 million weights, F32",
        "latest_net_G_A.pth, latest_net_G_B.pth, of the official code",
        "away from what the official networks answer",
        "The files do not tell the padding: reflect",
    ):
        assert words in table
    assert str(tmp_path) not in table and "safetensors" not in table
    photo = Image.fromarray(noise(40, 52))
    library = CycleGANPipeline.from_pretrained(str(folder), official=True).optimize()
    for direction in ("a2b", "b2a"):
        ((found,),) = shelf.translate(shelf.first, [photo], direction)
        expected = library(photo, direction=direction).images[0]
        assert np.abs(np.asarray(found, int) - np.asarray(expected, int)).max() <= 1


def test_of_one_official_file_one_direction_is_offered(tmp_path: Path) -> None:
    save_official(tmp_path / "latest_net_G.pth", randomized(Unet(width=2, downs=5)))
    shelf = page_module("shelf").Shelf([str(tmp_path)], budget=10**9)
    assert list(shelf.first.domains) == ["a2b"]
    assert "UnetGenerator" in page_module("tabs.models").facts_table(shelf.first)


def test_a_damaged_official_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "latest_net_G_A.pth").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"latest_net_G_A.pth is a picture; expected a PyTorch file"):
        page_module("shelf").Shelf([str(tmp_path)], budget=10**9)


@pytest.mark.parametrize(
    ("name", "domains"),
    [
        ("user/horse2zebra_pretrained", ("horse", "zebra")),
        ("models/cityscapes_photo2label/", ("photo", "label")),
        ("user/style_monet", ("a", "b")),
        ("horse2zebra/best", ("a", "b")),
    ],
)
def test_an_official_folder_names_the_domains(name: str, domains: tuple[str, str]) -> None:
    assert page_module("official").domains_of(name) == domains
