"""Reports: what is written, what a comparison says, and what the page holds."""

import copy
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_hf.atomic import put_in_place
from cyclegan_hf.evaluation.charts import chart
from cyclegan_hf.evaluation.comparison import compare, spread
from cyclegan_hf.evaluation.gallery import Gallery, best_first
from cyclegan_hf.evaluation.markdown import comparison_markdown, report_markdown
from cyclegan_hf.evaluation.page import report_page
from cyclegan_hf.evaluation.protocol import check_same, differences, precision_of, protocol_of
from cyclegan_hf.evaluation.report import check_output, document, read_report, write_report
from cyclegan_hf.evaluation.results import Scores
from cyclegan_hf.evaluation.run_logs import Curve, RunLogs, read_logs
from cyclegan_hf.hub.card import metrics_section
from cyclegan_hf.metrics.figures import FIGURES, FURTHER, SPREADS, as_difference, as_text, is_better
from cyclegan_hf.saved_format import PRETRAINED_FOLDER
from tests.evaluation.tiny import NAMES, evaluator, pipeline
from tests.metrics.test_inception import TinyNetwork
from tests.testing_utils import write_domains


def made(folder: Path, seed: int = 0, gallery: Gallery | None = None, **model: Any) -> dict[str, Any]:
    """A document of a small evaluation."""
    measured, pipe = evaluator(folder, resamples=40), pipeline(seed)
    scores = measured(pipe, keep=gallery.keep if gallery else None)
    if gallery:
        gallery.thin(scores)
    facts = {"name": f"model-{seed}", "weights": "saved"} | model
    protocol = protocol_of(measured, None, {}, facts, {"device": "cpu", "precision": precision_of(pipe)}) | {
        "domains": NAMES
    }
    return document(protocol, scores, measured.baselines(pipe), measured.warnings())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, Any]]:
    """Documents of small evaluations, made once; each caller has its own copy."""
    domains = write_domains(tmp_path_factory.mktemp("saved") / "domains", count=6, size=48)
    documents = {seed: made(domains, seed) for seed in (0, 1)}
    return lambda seed=0: copy.deepcopy(documents[seed])


@pytest.fixture
def written(two_domains: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    folder.mkdir()
    gallery = Gallery(folder, 2)
    write_report(folder, made(two_domains, gallery=gallery, step=12), gallery, RunLogs())
    return folder


def test_the_folder(written: Path) -> None:
    assert sorted(path.name for path in written.iterdir()) == [
        *("contact_sheet.png", "index.html", "metrics.json", "pictures", "pictures.json", "report.md"),
    ]
    metrics = json.loads((written / "metrics.json").read_text(encoding="utf-8"))
    assert {"protocol", "a2b", "b2a", "spread", "baselines", "mean"} <= metrics.keys()
    assert metrics["mean"]["swd"] == pytest.approx((metrics["a2b"]["swd"] + metrics["b2a"]["swd"]) / 2)
    protocol = metrics["protocol"]
    assert protocol["pictures"]["a"]["count"] == protocol["reference"]["b"]["count"] == 6
    assert protocol["image_size"] == {"a": [48, 48], "b": [48, 48]}
    assert (protocol["resize"], protocol["rounding"], protocol["seed"]) == ("own size", "nearest", 0)
    assert protocol["model"]["step"] == 12
    assert {"torch", "kornia", "cyclegan_hf", "device"} <= protocol["software"].keys()
    table = (written / "report.md").read_text(encoding="utf-8")
    assert f"| SWD | {as_text('swd', metrics['a2b']['swd'], metrics['spread']['a2b']['swd'])} |" in table
    assert "untouched inputs' [95 %, paired bootstrap]: colour to target" in table
    sheet = Image.open(written / "contact_sheet.png")
    assert sheet.width == 2 * 3 * 198 + 12


def test_only_some_pictures_stay_and_the_page_names_all_that_do(written: Path) -> None:
    page = (written / "index.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
    named = {file for way in data["ways"].values() for shown in way["pictures"] for file in shown["files"].values()}
    assert named == {path.relative_to(written).as_posix() for path in (written / "pictures").rglob("*.png")}
    assert data["columns"] == ["input", "translation", "cycle"]
    assert 2 <= len(data["ways"]["a2b"]["pictures"]) <= 6


class Sources(HTMLParser):
    """What a page would load, and the ids that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attributes if name in ("src", "href", "srcset")]
        self.ids += [value or "" for name, value in attributes if name == "id"]


def test_the_page_asks_nothing_of_any_network(written: Path) -> None:
    page = (written / "index.html").read_text(encoding="utf-8")
    sources = Sources()
    sources.feed(page)
    assert all(source.startswith("#") for source in sources.found)
    assert len(sources.ids) == len(set(sources.ids))
    assert "http://" not in page and "https://" not in page and "@import" not in page


def test_names_cannot_write_into_the_page(two_domains: Path, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (two_domains / "testA" / "000.png").rename(
        two_domains / "testA" / "<script>alert(1)</script>.png".replace("/", "_")
    )
    gallery = Gallery(tmp_path / "report", 6)
    result = made(two_domains, gallery=gallery)
    result["protocol"]["model"]["name"] = "</title><script>alert(2)</script>"
    write_report(tmp_path / "report", result, gallery, RunLogs())
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page


def test_a_report_comes_back(written: Path, saved: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    again = read_report(written)
    assert again["resamples"]["a2b"]["model"]["swd"] == saved()["resamples"]["a2b"]["model"]["swd"]  # seeded
    with pytest.raises(ValueError, match=r"expected a report of `cyclegan-hf evaluate`, found no metrics\.json"):
        read_report(tmp_path)
    (written / "metrics.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="has no `protocol`"):
        read_report(written)


def test_models_side_by_side(saved: Callable[..., dict[str, Any]]) -> None:
    reports = {f"model-{seed}": saved(seed) for seed in (0, 1)}
    result = compare(reports)
    for way in ("a2b", "b2a"):
        rows = result[way]["rows"]
        assert [row["name"] for row in rows] == ["untouched", "model-0", "model-1", "real"]
        assert rows[1]["figures"]["swd"] == reports["model-0"][way]["swd"]
        pairs = [(entry["one"], entry["other"]) for entry in result[way]["differences"]["swd"]]
        assert pairs == [("model-0", "untouched"), ("model-1", "untouched"), ("model-1", "model-0")]
        last = result[way]["differences"]["ssim"][-1]
        assert last["difference"] == pytest.approx(reports["model-1"][way]["ssim"] - reports["model-0"][way]["ssim"])
        assert 0 < last["p"] <= 1
    text = comparison_markdown(result)
    assert "| model-1 − model-0 | SSIM to input | " in text
    assert result["notes"] == []


def test_a_difference_that_is_large_is_sure_and_one_of_equals_is_not(saved: Callable[..., dict[str, Any]]) -> None:
    one, same, other = (saved(seed) for seed in (0, 0, 0))
    for way in ("a2b", "b2a"):
        other[way]["ssim"] += 0.2
        samples = other["resamples"][way]["model"]
        samples["ssim"] = [value + 0.2 for value in samples["ssim"]]
    found = compare({"one": one, "same": same, "other": other})["a2b"]["differences"]["ssim"]
    p = {(entry["one"], entry["other"]): entry["p"] for entry in found}
    assert p["same", "one"] == 1
    assert p["other", "one"] == pytest.approx(2 / 41)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(seed=1), "seed: 0 against 1"),
        (lambda p: p["swd"].update(projections=1), "swd.projections: 512 against 1"),
        (lambda p: p.update(feature_network={"name": "x", "sha256": "y"}), "feature_network: None against"),
        (lambda p: p["pictures"]["a"].update(fingerprint="other"), "pictures.a.fingerprint"),
        (lambda p: p.pop("resize"), "resize: own size against None"),
        (lambda p: p["software"].update(precision="bfloat16"), "precision: float32 against bfloat16"),
    ],
)
def test_other_protocols_are_not_compared(saved: Callable[..., dict[str, Any]], change, message: str) -> None:
    one = saved()
    other = json.loads(json.dumps(one))
    change(other["protocol"])
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        compare({"one": one, "other": other})
    assert "one and other cannot be compared, their protocols differ" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_protocol_tells_what_was_done(tmp_path: Path) -> None:
    write_domains(tmp_path, count=6, size=28)
    measured, pipe = evaluator(tmp_path, network=TinyNetwork()), pipeline(directions=("a2b",))
    fitted = measured.pictures.read
    measured.pictures.read = lambda path, key: fitted(path, key).resize((28, 28) if key == "a" else (32, 32))
    measured.directions = ["a2b"]
    measured(pipe)
    protocol = protocol_of(measured, {"name": "tiny", "sha256": "0"}, {}, {}, {"precision": precision_of(pipe)})
    assert protocol["inception_score"]["splits"] == {"a2b": 3}  # six pictures, two a part
    assert protocol["image_size"] == {"a": [28, 28], "b": [32, 32]}
    assert (protocol["software"]["precision"], protocol["software"]["batch_size"]) == ("float32", 4)
    assert protocol["software"]["threads"] == torch.get_num_threads()
    pipe.optimize(dtype=torch.bfloat16)
    assert precision_of(pipe) == "bfloat16"


def test_other_software_is_said(saved: Callable[..., dict[str, Any]]) -> None:
    one = saved()
    other = json.loads(json.dumps(one))
    other["protocol"]["software"]["torch"] = "9.9"
    other["protocol"]["software"]["batch_size"] = 8
    other["protocol"]["model"]["step"] = 5
    (note,) = compare({"one": one, "other": other})["notes"]
    assert "computed by different software (torch: " in note
    assert "batch_size: 4 against 8" in note  # which changes last digits
    assert differences(one["protocol"], other["protocol"]) == []
    check_same({"one": one["protocol"], "other": other["protocol"]})
    with pytest.raises(ValueError, match=r"at least 2 reports, got 1|at least 2 reports to compare, got 1"):
        compare({"one": one})


def test_the_spread_is_a_bell_curves_deviation_and_no_outliers_play() -> None:
    samples = 3 + 2 * torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    assert spread(samples) == pytest.approx(2, rel=0.03)
    samples[:5] = 1e9
    samples[5] = float("nan")
    assert spread(samples) == pytest.approx(2, rel=0.03)
    assert spread(torch.zeros(0)) is None


def test_which_way_is_better() -> None:
    assert is_better("swd", 1, 2) and is_better("ssim", 0.9, 0.8)
    assert is_better("diversity", 1.1, 0.5) and is_better("accuracy", 0.4, 0.8)
    with pytest.raises(ValueError, match="how much changes, not how well"):
        is_better("color_shift", 1, 2)
    assert best_first("ssim", [0.1, float("nan"), 0.9, 0.5]) == [2, 3, 0]
    assert best_first("cycle_l1", [0.1, 0.9, 0.5]) == [0, 2, 1]
    assert all(figure.meaning.endswith(".") and figure.better for figure in (FIGURES | FURTHER).values())
    told = json.loads((PRETRAINED_FOLDER / "metrics.json").read_text())["a2b"]
    assert {name for name, value in told.items() if isinstance(value, float)} <= (FIGURES | FURTHER).keys() | set(
        SPREADS.values()
    )


def test_a_cards_table_says_which_way_is_better() -> None:
    values = dict.fromkeys([*FIGURES, *FURTHER, "others"], 0.5)
    table = metrics_section({"a2b": values}, "summer", "winter")
    for name in ("swd ↓", "ssim ↑", "diversity → 1", "accuracy → ½", "noise_gain ↓", "pattern ↓", "inverted_tiles ↓"):
        assert f"| {name} | 0.5 |" in table
    for name in ("change", "color_shift", "others", "luma_correlation ↑", "cycle_growth → 1", "pattern_ratio ↓"):
        assert f"| {name} | 0.5 |" in table


def test_a_cards_table_gives_the_spread_where_it_is_known() -> None:
    ways = {"a2b": {"swd": 77.123, "ssim": 0.61234}, "b2a": {"swd": 80.0}}
    compared = {"a2b": {"kid": {"difference": -0.01, "interval": [-0.02, 0.005], "p": 0.1}}}
    assert "| -0.0100 [-0.0200, +0.0050] |  |" in metrics_section(ways | {"against_untouched": compared}, "s", "w")
    assert as_text("kid", 0.0105, 0.001) == "10.50 ± 1.00"  # in tables ×1000, in files the plain value
    assert as_difference("kid", -0.0128, [-0.0183, -0.0078]) == "-12.80 [-18.30, -7.80]"
    table = metrics_section(ways | {"spread": {"a2b": {"swd": 4.567, "gone": 1.0}, "b2a": {}}}, "summer", "winter")
    assert "| swd ↓ | 77.12 ± 4.6 | 80 |" in table and "| ssim ↑ | 0.6123 |  |" in table and "gone" not in table


def test_the_best_and_the_worst_stay_in_the_gallery(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, 1)
    for index in range(20):
        pictures = {name: torch.full((3, 8, 8), index / 20) for name in ("input", "translation")}
        gallery.keep("a2b", index, Path(f"{index}.jpg"), pictures)
    gallery.thin({"a2b": Scores(pictures={"ssim": torch.arange(20) / 20, "color_shift": torch.rand(20)})})
    assert [one.index for one in gallery.shown["a2b"]] == [0, 1, 2, 17, 18, 19]
    assert len(list(tmp_path.rglob("*.png"))) == 12
    assert np.asarray(Image.open(tmp_path / gallery.shown["a2b"][1].files["input"])).max() == 13  # 255 / 20, rounded


def test_what_holds_other_things_is_not_written_over(written: Path, tmp_path: Path) -> None:
    check_output(written)
    check_output(tmp_path / "new")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").touch()
    with pytest.raises(ValueError, match="expected an empty folder or an earlier report, found other files"):
        check_output(tmp_path / "photos")
    with pytest.raises(ValueError, match="expected a folder to write to, got a file"):
        check_output(tmp_path / "photos" / "1.jpg")
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh" / "metrics.json").write_text("new", encoding="utf-8")
    put_in_place(tmp_path / "fresh", written)
    assert [path.name for path in written.iterdir()] == ["metrics.json"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


LINES = [
    {
        "step": 3 * epoch,
        "epoch": epoch,
        "train": {
            "total": 9 / epoch,
            "generator": 1.0,
            "discriminator": 0.3,
            "cycle": 1.0,
            "accuracy_a": 0.8,
            "accuracy_b": 0.7,
        },
        "train_terms": {"gan_a2b": 0.1 * epoch},
        "validation": {
            "total": 10 / epoch,
            "generator": 1.1,
            "discriminator": 0.3,
            "cycle": 1.0,
            "accuracy_a": 0.8,
            "accuracy_b": 0.7,
        },
        "validation_terms": {"gan_a2b": 0.2 * epoch},
    }
    for epoch in (1, 2, 3)
]


def write_run(folder: Path) -> Path:
    (folder / "checkpoint-6").mkdir(parents=True)
    lines = [*LINES, {"step": 9, "epoch": 3, "evaluation": {"swd": 80.0, "a2b": {"swd": 70.0}}}]
    (folder / "epochs.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 1', encoding="utf-8")
    return folder


def test_a_runs_logs_are_read_from_its_checkpoint(tmp_path: Path) -> None:
    logs = read_logs(write_run(tmp_path / "run") / "checkpoint-6")
    curves = {curve.name: curve for curve in logs.curves}
    assert list(curves)[:3] == ["total", "generator", "discriminator"]
    assert curves["total"].lines["train"] == [(1, 9), (2, 4.5), (3, 3)]
    assert curves["gan_a2b"].lines["validation"][-1] == (3, pytest.approx(0.6))
    assert logs.losses["validation"]["generator"] == 1.1
    assert logs.evaluations == [{"step": 9, "epoch": 3, "swd": 80.0, "a2b": {"swd": 70.0}}]
    (tmp_path / "run" / "losses.json").write_text(json.dumps({"test": LINES[0]["train"]}), encoding="utf-8")
    assert list(read_logs(tmp_path / "run").losses) == ["test"]
    assert read_logs(tmp_path).curves == read_logs(None).curves == []


def test_a_run_of_one_epoch_has_curves_of_steps(tmp_path: Path) -> None:
    (tmp_path / "epochs.jsonl").write_text(json.dumps(LINES[0]) + "\n", encoding="utf-8")
    steps = [{"step": number, "cycle_a": float(number)} for number in range(1, 1001)]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, steps)), encoding="utf-8")
    (curve,) = read_logs(tmp_path).curves
    assert (curve.name, curve.unit, len(curve.lines["train"])) == ("cycle_a", "step", 200)
    assert curve.lines["train"][0] == (3, 3)  # the mean of five neighbours


def test_the_page_of_a_run_shows_its_curves_tables_and_stages(
    saved: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    write_run(tmp_path / "stage-1")
    row = {"stage": 1, "epoch": 3, "step": 9, "batch_size": 2, "seed": 0, "metric": "swd", "a2b": 70.0, "b2a": 90.0}
    history = {"selection": "the best by hand", "candidates": [row | {"mean": 80.0, "chosen": True}]}
    (tmp_path / "history.json").write_text(json.dumps(history), encoding="utf-8")
    page = report_page(saved(), {}, read_logs(tmp_path))
    assert "<td>train</td><td>0.300</td><td>1.000</td><td>1.000</td><td>80.00</td><td>70.00</td>" in page
    assert "<th>accuracy summer</th>" in page
    assert "<td>chosen</td>" in page and "Chosen: the best by hand." in page
    assert page.count("<figcaption>") == len(read_logs(tmp_path).curves)


def test_stages_curves_go_on_from_one_another(tmp_path: Path) -> None:
    for number in (1, 2):
        write_run(tmp_path / f"stage-{number}")
    rows = [{"stage": number} for number in (1, 1, 2)]
    (tmp_path / "history.json").write_text(json.dumps({"candidates": rows}), encoding="utf-8")
    logs = read_logs(tmp_path)
    (total,) = [curve for curve in logs.curves if curve.name == "total"]
    assert total.lines["train"] == [(1, 9), (2, 4.5), (3, 3), (4, 9), (5, 4.5), (6, 3)]
    assert [(line["step"], line["epoch"]) for line in logs.evaluations] == [(9, 3), (18, 6)]
    (own,) = [curve for curve in read_logs(tmp_path / "stage-2").curves if curve.name == "total"]
    assert own.lines["train"] == [(1, 9), (2, 4.5), (3, 3)]


def test_a_chart_has_its_lines_inside() -> None:
    curve = Curve("a < b", "epoch", {"train": [(1, 0.0), (2, 50.0), (3, 100.0)], "validation": [(3, 40.0)]})
    svg = chart(curve)
    assert 'class="line train"' in svg and 'class="dot validation"' in svg
    assert "a &lt; b: train 0 to 100, validation 40 to 40" in svg
    (path,) = re.findall(r'class="line train" d="M([^"]*)"', svg)
    places = [tuple(map(float, point.split())) for point in path.split("L")]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert [y for _, y in places] == sorted((y for _, y in places), reverse=True)
    assert all(0 <= x <= 300 and 0 <= y <= 150 for x, y in places)
    flat = chart(Curve("flat", "step", {"train": [(1, 2.0), (2, 2.0)]}))
    assert "nan" not in flat


def test_the_markdown_of_one_direction_and_warnings(saved: Callable[..., dict[str, Any]]) -> None:
    result = saved()
    del result["b2a"]
    result["signs"]["a2b"] = {"pattern": "a regular pattern"}
    result["warnings"] = ["few pictures"]
    text = report_markdown(result)
    assert "## summer → winter" in text and "## winter → summer" not in text
    assert "- **a regular pattern**" in text and "> few pictures" in text
