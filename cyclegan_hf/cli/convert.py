"""The subcommand `convert`."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from cyclegan_hf.cli.imports import many_imports


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
    batch_statistics: bool = False,
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
        batch_statistics: Translate with each picture's own statistics in batch norms, as the official test.py does
            without --eval; by default with the stored ones, as with --eval.
    """
    with many_imports():
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
        batch_statistics=batch_statistics,
    )
    print(report)
    return 0
