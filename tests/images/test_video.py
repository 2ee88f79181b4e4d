"""Clips: every frame once, at its time, with its sound; less flicker; and nothing but videos is opened."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from cyclegan_hf.images.video import FlickerFilter, translate_video


av = pytest.importorskip("av", reason="PyAV is not installed")
RATE, SOUND_RATE = 12, 48000
COLOUR = (60, 120, 60)


def write_clip(path: Path, *, frames: int = 12, sound: str | None = "aac", size: tuple[int, int] = (64, 48)) -> Path:
    """A red square on green that moves to the right, and a tone."""
    with av.open(str(path), "w") as clip:
        stream = clip.add_stream("mpeg4" if path.suffix == ".avi" else "libx264", rate=RATE)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        voice = clip.add_stream(sound, rate=SOUND_RATE, layout="mono") if sound else None
        for index in range(frames):
            pixels = np.full((size[1], size[0], 3), COLOUR, np.uint8)
            pixels[8:24, 2 * index : 2 * index + 16] = (220, 40, 40)
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        clip.mux(stream.encode(None))
        if voice is not None:
            wave = 8000 * np.sin(2 * np.pi * 440 * np.arange(SOUND_RATE * frames // RATE) / SOUND_RATE)
            kind, values = ("s16", wave.astype(np.int16)) if sound == "pcm_s16le" else ("fltp", wave / 32768)
            frame = av.AudioFrame.from_ndarray(
                values.astype(values.dtype if kind == "s16" else np.float32)[None], format=kind, layout="mono"
            )
            frame.rate = SOUND_RATE
            clip.mux(voice.encode(frame))
            clip.mux(voice.encode(None))
    return path


def inverted(frames: list[Image.Image]) -> list[Image.Image]:
    return [ImageOps.invert(frame) for frame in frames]


def pictures(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as clip:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in clip.decode(video=0)]


def sound_of(path: Path) -> tuple[str, list[bytes]]:
    with av.open(str(path)) as clip:
        stream = clip.streams.audio[0]
        return stream.codec_context.name, [bytes(packet) for packet in clip.demux(stream) if packet.size]


def run(source: Path, output: Path, **settings: Any) -> list[int]:
    return [step.done for step in translate_video(source, output, inverted, strength=0.0, **settings)]


def test_every_frame_is_translated_and_keeps_its_time(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=10)
    assert run(source, tmp_path / "out.mp4") == [4, 8, 10]
    before, after = pictures(source), pictures(tmp_path / "out.mp4")
    assert [time for time, _ in before] == [time for time, _ in after]
    for (_, original), (_, result) in zip(before, after, strict=True):
        assert np.abs((255 - original.astype(int)) - result).mean() < 4  # two times H.264
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_the_sound_is_the_same_bytes(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4")
    run(source, tmp_path / "out.mp4")
    assert sound_of(tmp_path / "out.mp4") == sound_of(source)


def test_sound_that_an_mp4_does_not_take_becomes_aac(tmp_path: Path) -> None:
    run(write_clip(tmp_path / "in.avi", sound="pcm_s16le"), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as clip:
        assert clip.streams.audio[0].codec_context.name == "aac"
        wave = np.concatenate([frame.to_ndarray()[0] for frame in clip.decode(audio=0)])
    spectrum = np.abs(np.fft.rfft(wave[SOUND_RATE // 4 : 3 * SOUND_RATE // 4]))
    assert abs(np.argmax(spectrum) * 2 - 440) <= 4  # Hz: half a second has bins of two


def test_a_clip_without_sound_stays_silent(tmp_path: Path) -> None:
    run(write_clip(tmp_path / "in.mp4", sound=None), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as clip:
        assert len(clip.streams.video) == 1 and not clip.streams.audio


def test_long_frames_are_shrunk_to_even_sides(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", size=(100, 66))
    run(source, tmp_path / "out.mp4", long_side=50)
    assert pictures(tmp_path / "out.mp4")[0][1].shape == (32, 50, 3)


def test_who_stops_gets_nothing_and_nothing_is_left(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4")
    steps = translate_video(source, tmp_path / "out.mp4", inverted)
    assert next(steps).total == 12
    steps.close()
    assert list(tmp_path.iterdir()) == [source]


def test_a_failing_translation_leaves_the_old_result(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4")
    (tmp_path / "out.mp4").write_bytes(b"older")

    def fail(frames: list[Image.Image]) -> list[Image.Image]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(translate_video(source, tmp_path / "out.mp4", fail))
    assert (tmp_path / "out.mp4").read_bytes() == b"older"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("play list", {}, "expected a video, cannot read"),
        ("script", {}, "expected a video, cannot read"),
        ("picture", {}, "expected a video, cannot read"),
        ("half", {}, "expected a video, cannot read"),
        ("only sound", {}, "without pictures"),
        ("clip", {"max_seconds": 0.5}, "at most 0.5 seconds, got 1"),
        ("clip", {"max_frames": 11}, "at most 11 frames, got 12"),
        ("nothing", {}, "there is none"),
    ],
)
def test_what_is_no_short_video_is_refused(
    tmp_path: Path, name: str, settings: dict[str, float], message: str
) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    source = tmp_path / "in.mp4"
    match name:
        case "play list":  # would be opened with whatever files and addresses it names
            source.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{clip}\n#EXT-X-ENDLIST\n")
        case "script":
            source.write_text(f"ffconcat version 1.0\nfile {clip}\n")
        case "picture":
            Image.new("RGB", (64, 64)).save(source, "JPEG")
        case "half":
            source.write_bytes(clip.read_bytes()[:900])
        case "only sound":
            with av.open(str(source), "w") as result, av.open(str(clip)) as whole:
                stream = result.add_stream_from_template(whole.streams.audio[0])
                for packet in whole.demux(whole.streams.audio[0]):
                    if packet.dts is not None:
                        packet.stream = stream
                        result.mux(packet)
        case "clip":
            source = clip
    with pytest.raises(ValueError, match=message) as error:
        list(translate_video(source, tmp_path / "out.mp4", inverted, **settings))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out.mp4").exists()


def test_another_ending_than_mp4_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a file name ending in \.mp4"):
        next(translate_video(write_clip(tmp_path / "in.mp4"), tmp_path / "out.webm", inverted))


def test_flicker_goes_where_nothing_moves_and_what_moves_is_sharp() -> None:
    rng = np.random.default_rng(0)
    steady, raw, shown = FlickerFilter(0.8), [], []
    for index in range(20):
        scene = np.full((32, 64, 3), 90, np.uint8)
        scene[:, 3 * index : 3 * index + 4] = 250  # a bar that moves to the right
        translation = (255 - scene + rng.normal(0, 8, scene.shape)).clip(0, 255).astype(np.uint8)
        raw.append(translation)
        shown.append(np.asarray(steady(Image.fromarray(scene), Image.fromarray(translation))))
    still = np.s_[8:, :, 62:]  # the bar never comes here
    assert np.std(np.array(shown)[still], axis=0).mean() < 0.5 * np.std(np.array(raw)[still], axis=0).mean()
    bar = np.s_[:, 58:60]
    assert np.abs(shown[-1][bar].astype(int) - raw[-1][bar]).max() <= 1


def test_no_strength_changes_nothing() -> None:
    pictures = [Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (10, 200)]
    unchanged = FlickerFilter(0.0)
    assert [unchanged(pictures[0], picture).getpixel((0, 0)) for picture in pictures] == [(10,) * 3, (200,) * 3]
    with pytest.raises(ValueError, match=r"`strength` must be in \[0, 1\)"):
        FlickerFilter(1.0)
