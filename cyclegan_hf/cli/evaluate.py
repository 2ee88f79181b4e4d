"""The command line's verb that measures models."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cyclegan_hf.arguments import torch_device
from cyclegan_hf.errors import install_command


Models = Annotated[list[str], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FOLDER|USER/NAME")]


def evaluate(
    *,
    output: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
    data: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None,
    model: Models = [],  # noqa: B006, tyro's own default for a flag that may come again
    reference: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None,
    compare: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="REPORT REPORT ...", help_behavior_hint="")] = (),
    weights: Literal["saved", "raw"] = "saved",
    revision: str | None = None,
    subfolder: str | None = None,
    direction: Literal["both", "a2b", "b2a"] = "both",
    split: Literal["test", "validation"] = "test",
    tried: int | None = None,
    limit: int | None = None,
    image_size: int | None = None,
    rounding: Literal["nearest", "truncate"] = "nearest",
    feature_network: Annotated[
        str, tyro.conf.arg(metavar="efficientnet-lite0|efficientnet-lite2|none|FILE")
    ] = "efficientnet-lite2",
    inception: Annotated[str | None, tyro.conf.arg(metavar="auto|none|FILE")] = None,
    lpips: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    dino: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    resamples: int = 500,
    seed: int = 0,
    gallery: int = 48,
    batch_size: int = 4,
    device: str | None = None,
    fast: bool = False,
) -> int:
    """Measure a model, or several side by side: figures with their protocol, tables, pictures, a page.

    For example:
        cyclegan-hf evaluate --model runs/s2w/best --data datasets/summer2winter --output report
        cyclegan-hf evaluate --model user/one --model user/two --data D --reference R --output report
        cyclegan-hf evaluate --compare monday/report tuesday/report --output comparison

    The folder of pictures holds testA and testB, or A and B, which are translated; trainA and trainB, where they are
    there, are the real pictures that translations are compared with. Open index.html in the report's folder. Exit code
    1 says that some pictures could not be read; the protocol counts them.

    Args:
        output: Folder of the report; an earlier report there is replaced.
        data: Folder of the pictures.
        model: Folder or Hub id of a pipeline, or a run's checkpoint; by default the weights that come with the
            library. Given several times, models are compared on the same pictures.
        reference: Another folder to compare with, laid out likewise.
        compare: Compare saved reports instead of measuring. Their protocols must be the same.
        weights: Of a checkpoint: as saved (averaged, where the run averages), or raw, as they train.
        revision: Branch, tag or commit on the Hub.
        subfolder: Where the pipeline is inside the folder or the repository.
        direction: Which way to measure.
        split: validation translates a fifth of the training images, those that training holds out by default, and
            compares with the rest: choose models, recipes and settings there. test is for the end, once.
        tried: How many models or settings were compared before this test: the report says it.
        limit: Most pictures of each set, evenly spread by name.
        image_size: Bring all pictures to this height and width. By default their own size, where they have one, or
            the shortest side.
        rounding: Of translations to 8 bits.
        feature_network: Network whose features give KID, FD, IS, GMS, the domain probe and the content distance: by
            name (extra `features`), none, or a file with any network as TorchScript. Discriminators train against
            efficientnet-lite0; the default took no part in training.
        inception: FID's Inception in its place, for FID, KID, IS and GMS as published. auto: from the cache or fetched
            (96 MB); or a file with the published weights.
        lpips: Weights of AlexNet (torchvision's names), for LPIPS.
        dino: Weights of a DINO vision transformer, for the structure distance.
        resamples: Bootstrap resamples, for spreads and for what chance can explain; 0 for none.
        seed: Of everything that is drawn.
        gallery: Pictures of each direction on the page, besides the best and the worst by each figure.
        batch_size: Pictures at a time. Another one may change the last digits.
        device: Such as cpu, cuda or cuda:1; by default the accelerator that there is, or else cpu.
        fast: Compute translations in bfloat16 where the hardware does; figures then differ in the last digits.
    """
    for name in ("torchmetrics", "kornia"):
        if importlib.util.find_spec(name) is None:
            raise ImportError(f"evaluation needs {name}, of the extra `metrics`: {install_command('metrics')}")
    for flag, number, least in (
        ("--tried", tried, 1),
        ("--limit", limit, 1),
        ("--image-size", image_size, 1),
        ("--resamples", resamples, 0),
        ("--gallery", gallery, 0),
        ("--batch-size", batch_size, 1),
        ("--seed", seed, 0),
    ):
        if number is not None and number < least:
            raise ValueError(f"`{flag}` must be {least} or more, got {number}")
    if bool(compare) == (data is not None):
        raise ValueError("expected either `--data FOLDER` to measure on, or `--compare REPORT REPORT ...`")
    if split == "validation" and reference is not None:
        raise ValueError("`--split validation` compares with the rest of the training images: leave out `--reference`")
    from cyclegan_hf.evaluation.run import Task, compare_reports, run

    if compare:
        print(compare_reports(list(compare), output))
        return 0
    assert data is not None
    text, left_out = run(
        Task(
            models=[*model] or [None],
            data=data,
            reference=reference,
            output=output,
            weights=weights,
            revision=revision,
            subfolder=subfolder,
            directions=("a2b", "b2a") if direction == "both" else (direction,),
            split=split,
            tried=tried,
            limit=limit,
            image_size=image_size,
            rounding=rounding,
            feature_network=feature_network,
            inception=inception,
            lpips=lpips,
            dino=dino,
            resamples=resamples,
            seed=seed,
            gallery=gallery,
            batch_size=batch_size,
            device=torch_device(device),
            fast=fast,
        )
    )
    print(f"{text}\n{output / 'index.html'}")
    return 1 if left_out else 0
