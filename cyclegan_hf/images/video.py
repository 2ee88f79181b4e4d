"""Short clips, frame by frame: what a picture's translation knows nothing of is time, and so its noise flickers.

The flicker is damped where the original stands still. The weights are those of Bonneel et al. 2015 ("Blind Video
Temporal Consistency", ACM TOG 34(6)), `λ exp(-α d²)` of the originals' difference d; unlike there, pixels are not
followed along an optical flow, so that what moves is left as it was translated.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from cyclegan_hf.atomic import whole_file
from cyclegan_hf.errors import install_command, one_line


# Containers that hold their own data. Others, play lists for one, name files and addresses that would be opened.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,flv,ogg"
_COPIED_SOUND = {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}  # what an MP4 file takes as it is
_FALLOFF = 1500.0  # α, for differences in [0, 1]: a weight has halved at 5 of 255 levels
_QUALITY = "18"  # of H.264: no visible loss


@dataclass(frozen=True)
class VideoProgress:
    """Progress of a clip.

    Attributes:
        done: Frames that are translated.
        total: Frames of the clip, as far as its file tells.
    """

    done: int
    total: int


class FlickerFilter:
    """Damps what changes in a translation while the original stays as it is.

    Args:
        strength: λ in [0, 1): what of the last result stays where nothing moves. 0 changes nothing; 0.8 leaves a third
            of a noise's amplitude.
    """

    def __init__(self, strength: float) -> None:
        if not 0 <= strength < 1:
            raise ValueError(f"`strength` must be in [0, 1), got {strength!r}")
        self.strength = strength
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, original: Image.Image, translation: Image.Image) -> Image.Image:
        """Take the next frame and its translation, both RGB and of one size; return what to show."""
        blurred = original.filter(ImageFilter.BoxBlur(1))  # a camera's noise is no motion
        seen = np.asarray(blurred, np.float32) / 255  # (H, W, 3)
        result = np.asarray(translation, np.float32)
        if self.strength and self._last is not None and self._last[0].shape == seen.shape:
            moved = ((seen - self._last[0]) ** 2).mean(2, keepdims=True)
            weight = self.strength * np.exp(-_FALLOFF * moved)  # (H, W, 1)
            result = result + weight * (self._last[1] - result)
        self._last = (seen, result)
        return Image.fromarray((result + 0.5).clip(0, 255).astype(np.uint8))


def translate_video(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    translate: Callable[[list[Image.Image]], list[Image.Image]],
    *,
    long_side: int | None = None,
    strength: float = 0.8,
    batch_size: int = 4,
    max_seconds: float | None = None,
    max_frames: int | None = None,
) -> Iterator[VideoProgress]:
    """Translate a clip; yield after each few frames, so that a caller can show how far it is, or stop.

    The sound is copied as it is where an MP4 file takes it, and else becomes AAC. Frames keep their times. Rotated
    clips (from phones) become upright. The result appears whole when the last frame is done; whoever closes the
    generator before gets nothing, and nothing is left.

    Args:
        source: A video file.
        output: The result, a file name ending in .mp4; one that exists is replaced.
        translate: Turns RGB pictures into as many, such as `lambda frames: pipe(frames).images`.
        long_side: Longer frames are shrunk to this many pixels.
        strength: Of the [`FlickerFilter`].
        batch_size: Frames at once.
        max_seconds: Longer clips are refused.
        max_frames: As `max_seconds`.

    Yields:
        [`VideoProgress`]

    Raises:
        ValueError: The file is no video, damaged, or too long.
        ImportError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError(f"videos need the extra `video`: {install_command('video')} ({error})") from error
    target = Path(output)
    if target.suffix.lower() != ".mp4":
        raise ValueError(f"{target}: expected a file name ending in .mp4")
    if not Path(source).is_file():
        raise ValueError(f"{source}: expected a video file, there is none")
    try:
        with (
            whole_file(target) as temporary,
            av.open(os.fspath(source), options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}) as clip,
            av.open(os.fspath(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as result,
        ):
            total = _check(clip, source, max_seconds, max_frames)
            writer = _Writer(clip, result, long_side, FlickerFilter(strength), translate, batch_size)
            for done in writer.run():
                if max_frames is not None and done > max_frames:
                    raise ValueError(f"{source}: expected at most {max_frames} frames, got more")
                yield VideoProgress(done, max(total, done))
    except av.FFmpegError as error:
        raise ValueError(f"{source}: expected a video, cannot read this file as one ({one_line(error)})") from error


class _Writer:
    """One clip on its way from a container to another."""

    def __init__(
        self,
        clip: Any,
        result: Any,
        long_side: int | None,
        filter_: FlickerFilter,
        translate: Callable[[list[Image.Image]], list[Image.Image]],
        batch_size: int,
    ) -> None:
        self.clip, self.result = clip, result
        self.long_side, self.filter, self.translate, self.batch_size = long_side, filter_, translate, batch_size
        self.pictures = clip.streams.video[0]
        self.pictures.thread_type = "AUTO"
        self.sound: Any = clip.streams.audio[0] if clip.streams.audio else None
        self.out_pictures: Any = None
        self.out_sound: Any = None
        if self.sound is not None:
            if self.sound.codec_context.name in _COPIED_SOUND:
                self.out_sound = result.add_stream_from_template(self.sound)
            else:
                self.out_sound = result.add_stream("aac", rate=self.sound.codec_context.sample_rate)

    def run(self) -> Iterator[int]:
        """Yield the number of frames that are done."""
        done, waiting, held = 0, [], []
        streams = [self.pictures] if self.sound is None else [self.pictures, self.sound]
        for packet in self.clip.demux(streams):
            if packet.stream is self.sound:
                held.append(packet)  # the writer takes sound once it knows the picture's size
            else:
                waiting += packet.decode()
            while len(waiting) >= self.batch_size:
                done += self._write(waiting[: self.batch_size])
                waiting = waiting[self.batch_size :]
                held = self._write_sound(held)
                yield done
        if waiting:
            done += self._write(waiting)
            yield done
        if not done:
            raise ValueError(f"{self.clip.name}: expected a video, got no frame")
        self._write_sound(held)
        self.result.mux(self.out_pictures.encode(None))
        if self.out_sound is not None and self.sound.codec_context.name not in _COPIED_SOUND:
            self.result.mux(self.out_sound.encode(None))

    def _write(self, frames: list[Any]) -> int:
        import av

        originals = [_fitted(_upright(frame), self.long_side) for frame in frames]
        for frame, original, translation in zip(frames, originals, self.translate(originals), strict=True):
            picture = self.filter(original, translation.convert("RGB"))
            if self.out_pictures is None:
                self.out_pictures = self.result.add_stream(
                    "libx264",
                    rate=self.pictures.average_rate or 25,
                    options={"crf": _QUALITY, "preset": "veryfast"},
                )
                self.out_pictures.width, self.out_pictures.height = picture.size
                self.out_pictures.pix_fmt = "yuv420p"
                self.out_pictures.codec_context.time_base = frame.time_base
            made = av.VideoFrame.from_image(picture)
            made.pts, made.time_base = frame.pts, frame.time_base
            self.result.mux(self.out_pictures.encode(made))
        return len(frames)

    def _write_sound(self, packets: list[Any]) -> list[Any]:
        for packet in packets:
            if self.sound.codec_context.name not in _COPIED_SOUND:
                for frame in packet.decode():
                    self.result.mux(self.out_sound.encode(frame))
            elif packet.dts is not None:
                packet.stream = self.out_sound
                self.result.mux(packet)
        return []


def _check(clip: Any, source: Any, max_seconds: float | None, max_frames: int | None) -> int:
    """Return the number of frames that a clip should have.

    Raises:
        ValueError: It has no pictures, or too many of them.
    """
    if not clip.streams.video:
        raise ValueError(f"{source}: expected a video, got a file without pictures")
    stream = clip.streams.video[0]
    if stream.width * stream.height > 4096 * 2304:
        raise ValueError(f"{source}: expected frames of up to 4096x2304, got {stream.width}x{stream.height}")
    seconds = float(clip.duration or 0) / 1_000_000
    if max_seconds is not None and seconds > max_seconds:
        raise ValueError(f"{source}: expected at most {max_seconds:g} seconds, got {seconds:.0f}")
    frames = stream.frames or round(seconds * float(stream.average_rate or 25))
    if max_frames is not None and frames > max_frames:
        raise ValueError(f"{source}: expected at most {max_frames} frames, got {frames}")
    return int(frames)


def _upright(frame: Any) -> Image.Image:
    """Return a frame as RGB, rotated as its clip says."""
    picture = frame.to_image()
    turns = {
        90: Image.Transpose.ROTATE_90,
        180: Image.Transpose.ROTATE_180,
        270: Image.Transpose.ROTATE_270,
    }
    turn = turns.get(frame.rotation % 360)
    return picture.transpose(turn) if turn is not None else picture


def _fitted(picture: Image.Image, long_side: int | None) -> Image.Image:
    """Shrink to a longest side, and to even sides, which H.264 needs."""
    scale = min(1.0, (long_side or max(picture.size)) / max(picture.size))
    width, height = (max(2, round(side * scale / 2) * 2) for side in picture.size)
    return picture if (width, height) == picture.size else picture.resize((width, height), Image.Resampling.LANCZOS)
