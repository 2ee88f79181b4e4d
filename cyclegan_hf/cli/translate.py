"""The subcommand `translate`: files, folders, datasets and videos."""

import contextlib
import functools
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from cyclegan_hf.arguments import torch_device
from cyclegan_hf.bulk.datasets import NO_DATASET, DatasetOptions, DatasetTranslation, dataset_source
from cyclegan_hf.bulk.translator import PictureFiles, PieceBar, Tally, Translator, counted, translate_all
from cyclegan_hf.cli.imports import many_imports
from cyclegan_hf.cli.video import translate_clip, video_input, video_output
from cyclegan_hf.images.files import ExistingPolicy, OutputFormat, PictureFile, plan_pictures
from cyclegan_hf.images.formats import MAX_PIXELS, open_header, pixel_limit
from cyclegan_hf.processes import Processes, cores_of_this_process, lonely_process_warning


def translate(
    inputs: Annotated[
        tyro.conf.Positional[list[str]], tyro.conf.arg(metavar="PICTURE|FOLDER|PATTERN ...", help_behavior_hint="")
    ],
    *,
    output: Annotated[str, tyro.conf.arg(metavar="FOLDER|FILE")],
    direction: str = "a2b",
    model: str | None = None,
    revision: str | None = None,
    subfolder: str | None = None,
    official: bool = False,
    batch_statistics: bool = False,
    size: Annotated[tuple[int, ...], tyro.conf.arg(metavar="SIDE | HEIGHT WIDTH", help_behavior_hint="")] = (),
    batch_size: int = 1,
    backend: Literal["auto", "torch", "onnx", "openvino"] = "auto",
    device: str | None = None,
    fast: bool = False,
    cycle: bool = False,
    keep_alpha: bool = False,
    bit_depth: Literal["8", "keep"] = "8",
    input_range: Annotated[tuple[str, ...], tyro.conf.arg(metavar="auto | LOW HIGH", help_behavior_hint="")] = (),
    max_pixels: int = MAX_PIXELS,
    rounding: Literal["nearest", "truncate"] = "nearest",
    format: OutputFormat = "keep",
    existing: ExistingPolicy = "refuse",
    data_set: Annotated[DatasetOptions, tyro.conf.arg(name="")] = NO_DATASET,
) -> int:
    """Translate pictures from one domain to the other.

    For example:
        cyclegan-hf translate photo.jpg --output winter.jpg
        cyclegan-hf translate photo.jpg holiday/ 'pics/*.png' --output out/ --direction summer2winter
        cyclegan-hf translate holiday/ --output out/ --model user/name --size 512 --existing skip
        cyclegan-hf translate clip.mp4 --output winter.mp4 --batch-size 4
        cyclegan-hf translate user/photos,split=test,column=image --output out/ --write parquet --streaming
        accelerate launch -m cyclegan_hf.cli translate holiday/ --output out/ --existing skip

    A picture that cannot be read costs a warning and exit code 1; the others are translated. Exit code 2 says that
    nothing was translated, or that the rest was given up. A result appears whole or not at all, and never in the place
    of an input. Several processes, on one machine or more, share the work out.

    Args:
        inputs: Pictures, folders of them (their sub-folders are kept), or quoted patterns; ** goes into sub-folders.
            Or one video, which becomes an MP4 file with its sound. Or one data set: an id on the Hub, an address, a
            file or pattern of parquet, webdataset (.tar) or arrow files; with config=, split=, column= and revision=
            after commas.
        output: Folder for the results; for a single picture also a file name ending in .png, .jpg, .webp or .tiff,
            for a video in .mp4.
        direction: a2b, b2a, or the same with the names of the model's domains, such as winter2summer.
        model: Folder or Hub id of a pipeline; by default the weights that come with the library.
        revision: Branch, tag or commit on the Hub.
        subfolder: Where the pipeline is inside the folder or the repository.
        official: The model is of the official code (latest_net_G_A.pth and its like): convert it on the way.
        batch_statistics: With --official: batch norms use each picture's own statistics, as the official test.py does
            without --eval; by default the stored ones, as with --eval.
        size: Translate at a size that fits into this one, and resize the results back: less memory and time for large
            pictures, less detail. By default each picture's own size, or the model's where it is bound to one.
        batch_size: The most pictures to translate at once; those of different sizes never share a batch.
        backend: What computes. auto: ONNX Runtime, which starts sooner, where the model has an exported graph and no
            accelerator is there; else torch. Their results differ in the last bits.
        device: For torch, such as cpu, cuda or cuda:1; by default the accelerator that there is, or else cpu.
        fast: With torch, compute in bfloat16 where the hardware does; results then differ in the last bits.
        cycle: Also save each translation translated back, as name_cycle beside name.
        keep_alpha: Give the results the opacity of their pictures; by default these are put on white.
        bit_depth: Of the results. keep: 16 bits where the picture has more than 8, in PNG or TIFF files.
        input_range: Which values of 16-bit, 32-bit and floating point pictures become black and white, such as 0 4095
            for 12 bits; auto: each picture's own smallest and largest. By default the model's, else 0 65535, and 0 1
            for floating point.
        max_pixels: Refuse pictures of more pixels.
        rounding: Of pixel values: nearest, or truncate as the official code does.
        format: Of the results. keep: JPEG, PNG and WebP stay what they are, any other becomes PNG. JPEG and WebP are
            written at quality 95, and hold 8 bits; JPEG holds no opacity.
        existing: What to do about results that are there already: refuse to begin, skip their pictures, or overwrite.
        data_set: Of data sets.
    """
    if batch_size < 1:
        raise ValueError(f"`--batch-size` must be 1 or more, got {batch_size}")
    if max_pixels < 1:
        raise ValueError(f"`--max-pixels` must be 1 or more, got {max_pixels}")
    if (keep_alpha and format == "jpg") or (bit_depth == "keep" and format in ("jpg", "webp")):
        asked = "--keep-alpha" if keep_alpha and format == "jpg" else "--bit-depth keep"
        raise ValueError(f"`{asked}` and `--format {format}` contradict each other: choose png or tiff")
    box, processes, clip = _box(size), Processes.of_environment(), video_input(inputs)
    where: dict[str, Any] = {"revision": revision, "subfolder": subfolder, "official": official}
    where["batch_statistics"] = batch_statistics
    if clip is not None:
        if cycle or keep_alpha or bit_depth != "8" or format != "keep" or processes.count > 1:
            raise ValueError(
                f"{clip}: a video is translated by one process, without `--cycle`, `--keep-alpha`, `--bit-depth` and "
                "`--format`"
            )
        target = video_output(clip, output, existing)
        if target is None:
            print(f"{output}: nothing to do, the video is already there")
            return 0
        pipeline = _open_pipeline(backend, device, fast, processes, None, model, **where)
        pipeline.set_progress_bar_config(disable=True)
        run = functools.partial(pipeline, direction=direction, size=box, batch_size=batch_size, rounding=rounding)
        print(translate_clip(clip, target, run, batch_size))
        return 0
    source = dataset_source(inputs, data_set)
    if warning := lonely_process_warning():
        print(f"warning: {warning}", file=sys.stderr)
    work: PictureFiles | DatasetTranslation
    files: list[PictureFile] | None = None
    if source is None:
        files, skipped = plan_pictures(
            inputs, output, output_format=format, cycle=cycle, existing=existing, processes=processes
        )
        if not files and not processes.can_meet:
            print(f"{output}: {Tally(skipped=skipped)}")
            return 0
        work = PictureFiles(files, skipped)
    else:
        made_by = {"model": model, "revision": revision, "subfolder": subfolder, "direction": direction}
        made_how = {"size": list(size), "cycle": cycle, "rounding": rounding, "fast": fast}
        made_how |= {"backend": backend}
        added = {"keep_alpha": keep_alpha, "bit_depth": bit_depth == "keep", "input_range": list(input_range)}
        made_how |= {name: value for name, value in added.items() if value}  # outputs of earlier versions lack them
        work = DatasetTranslation(
            source,
            data_set,
            Path(output),
            format=format,
            existing=existing,
            processes=processes,
            settings=made_by | made_how,
        )
    if processes.is_main:
        if isinstance(work, DatasetTranslation):
            work.open_repo()
        work.begin()
    processes.share_cores()
    from cyclegan_hf.images.depth import check_input_range

    wanted = check_input_range(input_range, "--input-range")
    with processes.meeting(), pixel_limit(max_pixels):
        pipeline = _open_pipeline(backend, device, fast, processes, files, model, **where)
        pipeline.set_progress_bar_config(disable=True)  # one bar over all pictures instead
        pipeline.on_piece = PieceBar() if processes.is_main else None
        run = functools.partial(
            pipeline, direction=direction, return_cycle=cycle, size=box, batch_size=batch_size, rounding=rounding
        )
        if wanted is None:
            wanted = _input_range_of(pipeline, direction)
        translator = Translator(
            run, batch_size, input_range=wanted, keep_alpha=keep_alpha, keep_depth=bit_depth == "keep"
        )
        tally = translate_all(work, translator, processes)
    if not tally.done and tally.failed:
        raise ValueError(f"none of {counted(tally.failed, 'picture')} could be translated")
    if processes.is_main or not processes.can_meet:
        print(f"{output}: {tally}")
    if data_set.push_to_hub and processes.is_main and isinstance(work, DatasetTranslation):
        print(work.push(tally))
    return 1 if tally.failed else 0


def _box(size: tuple[int, ...]) -> tuple[int, int] | None:
    match size:
        case ():
            return None
        case (side,) if side > 0:
            return side, side
        case (height, width) if height > 0 and width > 0:
            return height, width
    raise ValueError(f"`--size` must be one positive number or two, got {' '.join(map(str, size))}")


def _input_range_of(pipeline: Any, direction: str) -> Any:
    """Return the range of values that the model was trained with."""
    from cyclegan_hf.images.depth import check_input_range
    from cyclegan_hf.pipelines.walk import domains_of

    source, _ = domains_of(direction, pipeline.config["domain_a"], pipeline.config["domain_b"])
    return check_input_range(pipeline.config[f"image_processor_{source}"].get("input_range"))


def _open_pipeline(
    backend: str,
    device: str | None,
    fast: bool,
    processes: Processes,
    files: Sequence[PictureFile] | None,
    model: str | None,
    *,
    official: bool,
    batch_statistics: bool = False,
    **where: Any,
) -> Any:
    """Open the pipeline on its backend; `files` is `None` if the sizes of the images can't be known before."""
    if batch_statistics and not official:
        raise ValueError("`--batch-statistics` is for a model of the official code: add `--official`")
    plain = not (device or fast or official)
    if backend in ("onnx", "openvino") and not plain:
        raise ValueError(
            f"`--backend {backend}` takes neither `--device`, `--fast` nor `--official`: they are torch's"
        )
    where["num_threads"] = cores_of_this_process(processes.local_count) if processes.count > 1 else None
    accelerated = sys.platform == "darwin" or shutil.which("nvidia-smi") is not None
    if backend == "auto" and plain and not accelerated and find_spec("onnxruntime"):
        from cyclegan_hf.pipelines.pipeline_exported import MAX_PIXELS, ExportedPipeline, NoGraphError

        with contextlib.suppress(NoGraphError):
            exported = ExportedPipeline.from_pretrained(model, **where)
            small = files is not None and all(_pixels(file.source) <= MAX_PIXELS for file in files)
            if exported.any_size or small:
                return exported
    if backend in ("onnx", "openvino"):
        from cyclegan_hf.pipelines.pipeline_exported import ExportedPipeline

        return ExportedPipeline.from_pretrained(model, backend, **where)  # type: ignore[arg-type]
    with many_imports():
        from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
    del where["num_threads"]
    pipeline = CycleGANPipeline.from_pretrained(model, official=official, batch_statistics=batch_statistics, **where)
    pipeline.to(torch_device(device or processes.device()))
    if fast:
        pipeline.optimize()
    return pipeline


def _pixels(source: Path) -> int:
    """Return the number of pixels of an image from its header; 0 if it can't be read."""
    from PIL import Image

    with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError), open_header(source) as picture:
        return picture.width * picture.height
    return 0
