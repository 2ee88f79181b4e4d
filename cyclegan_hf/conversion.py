"""Official CycleGAN checkpoints (pytorch-CycleGAN-and-pix2pix `.pth` files) to pipelines of this library."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cyclegan_hf import __version__
from cyclegan_hf.atomic import whole_folder
from cyclegan_hf.models.layers import PaddingMode
from cyclegan_hf.official.networks import ConvertedNetworks, Direction, NetworkReport, convert_networks, roles
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline


REPORT_NAME = "conversion.json"


@dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """Converted networks, their largest differences and what the files don't tell. `str()` is a few lines.

    Attributes:
        output_dir: The folder that was written; not part of the saved report.
        domain_a: Name of domain a.
        domain_b: Name of domain b.
        networks: One report a file.
        notes: What was assumed, in sentences.
    """

    output_dir: Path
    domain_a: str
    domain_b: str
    networks: list[NetworkReport]
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Return the saved form, `conversion.json`."""
        content = {key: value for key, value in asdict(self).items() if key != "output_dir"}
        return json.dumps({"cyclegan_hf_version": __version__, **content}, indent=2) + "\n"

    def __str__(self) -> str:
        lines = [f"{self.output_dir}: {self.domain_a} (a), {self.domain_b} (b)"]
        for network in self.networks:
            lines.append(
                f"  {network.role} = {network.official_name} ({network.source}): {network.model_class}, "
                f"{network.num_parameters:,} parameters, {len(network.tensors) + len(network.dropped)} tensors, "
                f"none left over; largest difference {network.max_difference:.1e} at {network.input_size}²"
            )
        return "\n".join(lines + [f"  {note}" for note in self.notes])


def convert_official_checkpoint(
    generators: Sequence[str | Path],
    output_dir: str | Path,
    *,
    discriminators: Sequence[str | Path] = (),
    direction: Direction | None = None,
    domain_a: str = "a",
    domain_b: str = "b",
    padding_mode: PaddingMode = "reflect",
    dropout_prob: float | None = None,
    batch_statistics: bool = False,
) -> ConversionReport:
    """Convert official generators to a saved [`CycleGANPipeline`].

    Each converted network is compared with the official one, rebuilt independently from the same file, on a random
    picture. The folder appears at once and complete, or not at all.

    Args:
        generators: The files of G_A (a to b) and G_B (b to a), in this order, or of one generator.
        output_dir: The folder to make; it must not exist, or be empty. Beside the pipeline it gets `conversion.json`,
            and `discriminator_a`, `discriminator_b` where they were given.
        discriminators: As many files, in the same order: D_A (which judges domain b) and D_B.
        direction: Which way a single generator goes. By default what a name ending in `_G_A` or `_G_B` says, and
            `"a2b"` with any other name.
        domain_a: Name of domain a.
        domain_b: Name of domain b.
        padding_mode: Padding of ResNets, `"reflect"` or `"zero"`: the files do not tell.
        dropout_prob: Dropout of the generators in training; `None` is what the files tell, 0.5 or 0.
        batch_statistics: Translate with each picture's own statistics in batch norms, as the official `test.py` does
            without `--eval`, and not with the stored ones.

    Returns:
        The report, which was also saved.

    Raises:
        ValueError: Bad arguments, a file that is not what it should be, networks that do not fit one another, or an
            output that differs from the official network's by more than 1e-4. Nothing is written then.
    """
    output_dir = Path(output_dir)
    if output_dir.exists() and not (output_dir.is_dir() and not any(output_dir.iterdir())):
        raise ValueError(f"{output_dir} already exists; expected a new or empty folder.")
    converted = convert_networks(
        roles(generators, discriminators, direction), padding_mode, dropout_prob, batch_statistics
    )
    pipeline = CycleGANPipeline(**converted.pipeline_arguments(), domain_a=domain_a, domain_b=domain_b)
    report = ConversionReport(
        output_dir=output_dir,
        domain_a=domain_a,
        domain_b=domain_b,
        networks=converted.reports,
        notes=_notes(converted, padding_mode),
    )
    with whole_folder(output_dir) as folder:
        pipeline.save_pretrained(folder)
        for role, network in converted.networks.items():
            if network.kind == "discriminator":
                network.build().save_pretrained(folder / role)
        (folder / REPORT_NAME).write_text(report.to_json(), encoding="utf-8")
    return report


def _notes(converted: ConvertedNetworks, padding_mode: PaddingMode) -> list[str]:
    """List what the files don't tell, and where the official test script differs."""
    networks = converted.networks
    generators = [network for network in networks.values() if network.kind == "generator"]
    notes = []
    if any("padding_mode" in network.config for network in generators):
        official = "the official default" if padding_mode == "reflect" else "as asked for"
        notes.append(f"The files do not tell the padding: `{padding_mode}`, {official}.")
    if side := converted.unet_size:
        notes.append(f"The files do not tell a U-Net's training size ({side}² by its depth) nor its dropout.")
    if len(generators) < len(networks):
        notes.append("The files do not tell a discriminator's output activation: none.")
    if converted.stored_statistics:
        notes.append(
            "Batch norm translates with the stored statistics, as the official test.py does with --eval; with "
            "--batch-statistics it uses each picture's own, as without --eval."
        )
    if any(network.config["norm_type"] == "instance_affine" for network in generators):
        notes.append("Batch norm uses each picture's own statistics, as the official test.py does without --eval.")
    if any(network.config["dropout_prob"] > 0 for network in generators):
        notes.append("Dropout is off in translating; the official test.py leaves it on unless --no_dropout or --eval.")
    return notes
