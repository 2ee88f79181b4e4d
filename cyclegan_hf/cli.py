"""The command line, `cyclegan-hf VERB ...`. A verb is a typed function, and its docstring is its `--help`.

Importing this module loads nothing heavy: `--help` and mistakes in the arguments answer at once, and a verb loads
what it needs when its arguments have proven sound.
"""

import contextlib
import functools
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from cyclegan_hf.cli_arguments import bind_verb, torch_device
from cyclegan_hf.cli_evaluate import evaluate
from cyclegan_hf.errors import one_line
from cyclegan_hf.picture_files import ExistingPolicy, OutputFormat, PictureFile, plan_pictures, save_picture


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
    size: Annotated[tuple[int, ...], tyro.conf.arg(metavar="SIDE | HEIGHT WIDTH", help_behavior_hint="")] = (),
    batch_size: int = 1,
    device: str | None = None,
    fast: bool = False,
    cycle: bool = False,
    rounding: Literal["nearest", "truncate"] = "nearest",
    format: OutputFormat = "keep",
    existing: ExistingPolicy = "refuse",
) -> int:
    """Translate pictures from one domain to the other.

    For example:
        cyclegan-hf translate photo.jpg --output winter.jpg
        cyclegan-hf translate photo.jpg holiday/ 'pics/*.png' --output out/ --direction summer2winter
        cyclegan-hf translate holiday/ --output out/ --model user/name --size 512 --existing skip

    A picture that cannot be read costs a warning and exit code 1; the others are translated. Exit code 2 says that
    nothing was translated, or that the rest was given up. A result appears whole or not at all, and never in the place
    of an input.

    Args:
        inputs: Pictures, folders of them (their sub-folders are kept), or quoted patterns; ** goes into sub-folders.
        output: Folder for the results; for a single picture also a file name ending in .png, .jpg, .jpeg or .webp.
        direction: a2b, b2a, or the same with the names of the model's domains, such as winter2summer.
        model: Folder or Hub id of a pipeline; by default the weights that come with the library.
        revision: Branch, tag or commit on the Hub.
        subfolder: Where the pipeline is inside the folder or the repository.
        size: Translate at a size that fits into this one, and resize the results back: less memory and time for large
            pictures, less detail. By default each picture's own size, or the model's where it is bound to one.
        batch_size: The most pictures to translate at once; those of different sizes never share a batch.
        device: Such as cpu, cuda or cuda:1; by default the accelerator that there is, or else cpu.
        fast: Compute in bfloat16 where the hardware does; results then differ in the last bits.
        cycle: Also save each translation translated back, as name_cycle beside name.
        rounding: Of pixel values: nearest, or truncate as the official code does.
        format: Of the results. keep: JPEG, PNG and WebP stay what they are, any other becomes PNG. JPEG and WebP are
            written at quality 95.
        existing: What to do about results that are there already: refuse to begin, skip their pictures, or overwrite.
    """
    if batch_size < 1:
        raise ValueError(f"`--batch-size` must be 1 or more, got {batch_size}")
    box = _box(size)
    files, skipped = plan_pictures(inputs, output, output_format=format, cycle=cycle, existing=existing)
    if not files:
        print(f"{output}: nothing to do, {_pictures(skipped)} already there")
        return 0
    with _many_imports():
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
    pipeline = CycleGANPipeline.from_pretrained(model, revision=revision, subfolder=subfolder)
    pipeline.to(torch_device(device))
    if fast:
        pipeline.optimize()
    pipeline.set_progress_bar_config(disable=True)  # one bar over all pictures instead
    run = functools.partial(
        pipeline, direction=direction, return_cycle=cycle, size=box, batch_size=batch_size, rounding=rounding
    )

    done = failed = resized = 0
    interval = 0.1 if sys.stderr.isatty() else 10  # seconds; a log file needs no ten lines a second
    bar = tqdm(total=len(files), unit="picture", disable=len(files) == 1, mininterval=interval)
    with bar, logging_redirect_tqdm():
        for outcome in _translate_each(run, files, batch_size):
            match outcome:
                case ValueError() if len(files) == 1:
                    raise outcome
                case ValueError():
                    failed += 1
                    tqdm.write(f"warning {failed}: {one_line(outcome)}", file=sys.stderr)
                case was_resized:
                    done, resized = done + 1, resized + was_resized
            bar.update()
    if not done:
        raise ValueError(f"none of {_pictures(failed)} could be translated")
    facts = [
        f"{_pictures(done)} translated",
        f"{resized} of them at another size and resized back" if resized else "",
        f"{skipped} already there" if skipped else "",
        f"{failed} failed" if failed else "",
    ]
    print(f"{output}: {', '.join(filter(None, facts))}")
    return 1 if failed else 0


def convert(
    generators: Annotated[tyro.conf.Positional[list[Path]], tyro.conf.arg(metavar="G_A [G_B]", help_behavior_hint="")],
    *,
    output: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
    discriminators: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="D_A [D_B]", help_behavior_hint="")] = (),
    direction: Literal["a2b", "b2a"] | None = None,
    domain_a: str = "a",
    domain_b: str = "b",
    padding_mode: Literal["reflect", "zero"] = "reflect",
    dropout_prob: float | None = None,
) -> int:
    """Convert checkpoints of the official code (pytorch-CycleGAN-and-pix2pix) to a pipeline of this library.

    For example:
        cyclegan-hf convert latest_net_G_A.pth latest_net_G_B.pth --output horse2zebra
        cyclegan-hf convert latest_net_G_A.pth --output summer2winter --domain-a summer --domain-b winter
        cyclegan-hf convert G_A.pth G_B.pth --discriminators D_A.pth D_B.pth --output horse2zebra

    The architecture is read off the files. Each converted network is compared with the official one, rebuilt from the
    same file, and the largest difference is printed.

    Args:
        generators: Files of G_A (a to b) and G_B (b to a), in this order, or of one generator.
        output: Folder to make; it must not exist, or be empty.
        discriminators: As many files, in the same order: D_A (which judges domain b) and D_B.
        direction: Which way a single generator goes; by default what a name ending in _G_A or _G_B says, or else a2b.
        domain_a: Name of domain a.
        domain_b: Name of domain b.
        padding_mode: Padding of ResNets, which the files do not tell.
        dropout_prob: Dropout of the generators in training; by default what the files tell.
    """
    with _many_imports():
        from cyclegan_hf.conversion import convert_official_checkpoint
    report = convert_official_checkpoint(
        generators,
        output,
        discriminators=discriminators,
        direction=direction,
        domain_a=domain_a,
        domain_b=domain_b,
        padding_mode=padding_mode,
        dropout_prob=dropout_prob,
    )
    print(report)
    return 0


DESCRIPTION = "Translate pictures between two domains with CycleGAN. `cyclegan-hf VERB --help` tells more of a verb."
VERBS: dict[str, Callable[..., int]] = {"translate": translate, "convert": convert, "evaluate": evaluate}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the words after the program's name; by default those of this process.

    Returns:
        `int`: the exit code. 0: all went well; 1: some pictures failed; 2: an error, told in one line; 130 or 141:
        interrupted, or whoever read the output has left.
    """
    try:
        try:
            words = sys.argv[1:] if arguments is None else arguments
            return bind_verb(words, VERBS, prog="cyclegan-hf", description=DESCRIPTION)()
        finally:
            sys.stdout.flush()  # here rather than at exit, where a closed pipe could only be reported
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush at exit goes nowhere
        return 141
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2


def _translate_each(run: Callable[..., Any], files: list[PictureFile], batch_size: int) -> Iterator[bool | ValueError]:
    """Translates and saves pictures, a handful in memory at a time.

    Yields:
        `bool` or `ValueError`: for each picture, in any order, whether it was translated at another size than its own,
        or what is wrong with it.

    Raises:
        ValueError: the settings are wrong: the first picture was refused by the pipeline.
        OSError: a result could not be saved.
    """
    from cyclegan_hf.image_io import open_image

    proven = False
    handful = batch_size if batch_size == 1 else 4 * batch_size  # so that pictures of one size meet
    for start in range(0, len(files), handful):
        opened = []
        for file in files[start : start + handful]:
            try:
                opened.append((file, open_image(file.source)))
            except ValueError as error:
                yield error
        groups = [opened] if opened else []
        while groups:
            group = groups.pop()
            try:
                output = run([image for _, image in group])
            except (MemoryError, RuntimeError, ValueError) as error:  # RuntimeError: torch is out of memory
                if len(group) > 1:
                    groups = [[pair] for pair in reversed(group)]  # which one is it?
                elif proven or not isinstance(error, ValueError):
                    yield ValueError(f"{group[0][0].source}: {one_line(error)}")
                else:
                    raise
                continue
            proven = True  # from now on the settings are right, and what fails is the picture's fault
            cycles = output.cycles or [None] * len(group)
            for (file, image), picture, back, size in zip(group, output.images, cycles, output.sizes, strict=True):
                try:
                    save_picture(picture, file.output)
                    if file.cycle_output:
                        save_picture(back, file.cycle_output)
                    yield size != (image.height, image.width)
                except ValueError as error:
                    yield error


@contextlib.contextmanager
def _many_imports() -> Iterator[None]:
    """Imports without garbage collection.

    torch and diffusers make a million objects that all stay. Looking through them again and again while they load, and
    once more at exit, takes a third of the time.
    """
    if "torch" in sys.modules:  # loaded by whoever called `main`
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _box(size: tuple[int, ...]) -> tuple[int, int] | None:
    match size:
        case ():
            return None
        case (side,) if side > 0:
            return side, side
        case (height, width) if height > 0 and width > 0:
            return height, width
    raise ValueError(f"`--size` must be one positive number or two, got {' '.join(map(str, size))}")


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


if __name__ == "__main__":
    sys.exit(main())
