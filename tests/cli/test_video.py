"""`cyclegan-hf translate clip.mp4`."""

from pathlib import Path

import pytest
import torch

from cyclegan_hf.cli import main
from cyclegan_hf.cli import video as cli_video
from cyclegan_hf.models.generator_resnet import ResnetGenerator
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from tests.testing_utils import make_picture


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    CycleGANPipeline(ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1)).save_pretrained("model")
    return ["translate", "clip.mp4", "--model", "model", "--output"]


def write_clip(path: str, frames: int = 5) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed")
    with av.open(path, "w") as clip:
        stream = clip.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for index in range(frames):
            clip.mux(stream.encode(av.VideoFrame.from_image(make_picture("A", index, (48, 32)))))
        clip.mux(stream.encode(None))


def test_a_clip_is_translated_to_a_file_or_into_a_folder(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip("clip.mp4")
    assert main([*command, "winter.mp4", "--batch-size", "2"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "winter.mp4: 5 frames translated\n"
    assert "5/5" in captured.err
    assert main([*command, "out"]) == 0
    import av

    with av.open("out/clip.mp4") as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 5
    assert main([*command, "out"]) == 2
    assert main([*command, "out", "--existing", "skip"]) == 0
    assert main([*command, "out", "--existing", "overwrite"]) == 0


def test_what_does_not_go_with_a_video_is_refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    write_clip("clip.mp4", frames=1)
    for words, message in (
        (["out.png"], "ending in .mp4"),
        (["out", "--cycle"], "--cycle"),
        (["clip.mp4", "--existing", "overwrite"], "replace an input"),
    ):
        assert main([*command, *words]) == 2
        assert message in capsys.readouterr().err
    assert main(["translate", "other.png", "clip.mp4", "--output", "out"]) == 2
    assert "by itself" in capsys.readouterr().err
    assert main(["translate", "gone.mp4", "--output", "out"]) == 2
    assert "no such file" in capsys.readouterr().err
    Path("clip.mp4").write_bytes(b"no video")
    assert main([*command, "broken.mp4"]) == 2
    assert not Path("broken.mp4").exists()


def test_without_its_package_the_extra_is_named(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("clip.mp4").touch()
    monkeypatch.setattr(cli_video, "find_spec", lambda name: None)
    assert main([*command, "out"]) == 2
    assert "cyclegan_hf[video]" in capsys.readouterr().err
