"""Official CycleGAN checkpoints (pytorch-CycleGAN-and-pix2pix `.pth` files) to pipelines of this library."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from cyclegan_hf import __version__
from cyclegan_hf.conversion_files import read_tensors, sha256
from cyclegan_hf.conversion_layout import Kind, MappedNetwork, map_official_state_dict, strip_data_parallel
from cyclegan_hf.conversion_parity import official_output
from cyclegan_hf.models.generator_unet import UnetGenerator
from cyclegan_hf.models.layers import PaddingMode
from cyclegan_hf.pipelines.pipeline_cyclegan import CycleGANPipeline
from cyclegan_hf.pipelines.storage import whole_folder


Direction = Literal["a2b", "b2a"]

REPORT_NAME = "conversion.json"
PARITY_TOLERANCE = 1e-4

# The official names say which way a generator goes, and with which one a discriminator plays: D_A judges domain B.
OFFICIAL_NAMES = {
    "generator_a2b": "G_A",
    "generator_b2a": "G_B",
    "discriminator_b": "D_A",
    "discriminator_a": "D_B",
}


def role_kind(role: str) -> Kind:
    """What a network of that role (`generator_a2b`, …) is."""
    return "generator" if role.startswith("generator_") else "discriminator"


@dataclass(frozen=True, kw_only=True)
class NetworkReport:
    """What became of one file.

    Attributes:
        role: `generator_a2b`, `generator_b2a`, `discriminator_a` or `discriminator_b`.
        official_name: `G_A`, `G_B`, `D_A` or `D_B`.
        source: Name of the file.
        sha256: Its SHA-256.
        model_class: Name of the class here.
        config: The arguments of that class.
        num_parameters: Trained values.
        tensors: Each tensor's official name, our name and shape.
        filled: Our tensors that the file lacks, zeros.
        dropped: Tensors of the file that mean nothing (unused statistics of instance norms).
        input_size: Height and width of the random picture on which the outputs were compared.
        max_difference: Largest difference between our output and that of the official network, rebuilt independently
            from the same file, both in evaluation mode.
    """

    role: str
    official_name: str
    source: str
    sha256: str
    model_class: str
    config: dict[str, Any]
    num_parameters: int
    tensors: list[dict[str, Any]]
    filled: list[str]
    dropped: list[str]
    input_size: int
    max_difference: float


@dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """What was converted, how closely it agrees, and what the files could not tell. `str()` is a few lines.

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
        """The saved form, `conversion.json`."""
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


def load_official_network(
    path: str | Path,
    kind: Kind,
    *,
    padding_mode: PaddingMode = "reflect",
    dropout_prob: float | None = None,
) -> MappedNetwork:
    """Read one official file as a network of this library.

    Args:
        path: The `.pth` file (or safetensors under the same names).
        kind: What is expected: `"generator"` or `"discriminator"`.
        padding_mode: See [`map_official_state_dict`].
        dropout_prob: See [`map_official_state_dict`].

    Returns:
        The network; its `build()` makes the model.

    Raises:
        ValueError: The file cannot be read, is not an official network, or is one of the other kind.
    """
    return _network(path, read_tensors(path), kind, padding_mode, dropout_prob)


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

    Returns:
        The report, which was also saved.

    Raises:
        ValueError: Bad arguments, a file that is not what it should be, networks that do not fit one another, or an
            output that differs from the official network's by more than 1e-4. Nothing is written then.
    """
    output_dir = Path(output_dir)
    if output_dir.exists() and not (output_dir.is_dir() and not any(output_dir.iterdir())):
        raise ValueError(f"{output_dir} already exists; expected a new or empty folder.")
    files = _roles(generators, discriminators, direction)

    networks: dict[str, MappedNetwork] = {}
    reports = []
    for role, path in files.items():
        tensors = read_tensors(path)
        network = _network(path, tensors, role_kind(role), padding_mode, dropout_prob)
        networks[role] = network
        reports.append(_compared(role, path, tensors, network, padding_mode))
    channels = _domain_channels(networks)

    pipeline = CycleGANPipeline(
        **{role: network.build() for role, network in networks.items() if network.kind == "generator"},
        domain_a=domain_a,
        domain_b=domain_b,
        image_processor_a=_image_processor(channels["a"], networks),
        image_processor_b=_image_processor(channels["b"], networks),
    )
    report = ConversionReport(
        output_dir=output_dir,
        domain_a=domain_a,
        domain_b=domain_b,
        networks=reports,
        notes=_notes(networks, padding_mode),
    )
    with whole_folder(output_dir) as folder:
        pipeline.save_pretrained(folder)
        for role, network in networks.items():
            if network.kind == "discriminator":
                network.build().save_pretrained(folder / role)
        (folder / REPORT_NAME).write_text(report.to_json(), encoding="utf-8")
    return report


def _roles(
    generators: Sequence[str | Path], discriminators: Sequence[str | Path], direction: Direction | None
) -> dict[str, Path]:
    """Which file is which network."""
    if len(generators) not in (1, 2):
        raise ValueError(f"expected one generator or two, G_A and G_B in this order, got {len(generators)} files.")
    if len(discriminators) not in (0, len(generators)):
        raise ValueError(
            f"expected no discriminator or one for each generator, got {len(discriminators)} for {len(generators)}."
        )
    if len(generators) == 2:
        if direction is not None:
            raise ValueError(f"`direction` is for a single generator, got {direction!r} with two of them.")
        directions: list[Direction] = ["a2b", "b2a"]
    elif direction is None:
        directions = ["b2a" if _official_name(generators[0]) == "G_B" else "a2b"]
    elif direction in ("a2b", "b2a"):
        directions = [direction]
    else:
        raise ValueError(f"`direction` must be 'a2b' or 'b2a', got {direction!r}.")
    roles = {f"generator_{d}": Path(path) for d, path in zip(directions, generators, strict=True)}
    for d, path in zip(directions, discriminators, strict=False):
        roles[f"discriminator_{d[-1]}"] = Path(path)  # judges the domain that its generator draws
    if direction is None:
        for role, path in roles.items():
            if (name := _official_name(path)) is not None and name != OFFICIAL_NAMES[role]:
                raise ValueError(f"expected {OFFICIAL_NAMES[role]} for `{role}`, got {path.name}.")
    return roles


def _official_name(path: str | Path) -> str | None:
    """`G_A`, `G_B`, `D_A` or `D_B` where a file's name ends in it."""
    match = re.search(r"_net_([GD]_[AB])$", Path(path).stem)
    return match[1] if match else None


def _network(
    path: str | Path,
    tensors: Mapping[str, torch.Tensor],
    kind: Kind,
    padding_mode: PaddingMode,
    dropout_prob: float | None,
) -> MappedNetwork:
    try:
        network = map_official_state_dict(tensors, padding_mode=padding_mode, dropout_prob=dropout_prob)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if network.kind != kind:
        raise ValueError(f"{path} is a {network.kind} ({network.model_class.__name__}), expected a {kind}.")
    return network


@torch.no_grad()
def _compared(
    role: str,
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    network: MappedNetwork,
    padding_mode: PaddingMode,
) -> NetworkReport:
    """Compare a converted network with the official one, and report."""
    model = network.build()
    multiple = model.size_multiple if network.kind == "generator" else 1
    size = 256 if model.min_size <= 256 and 256 % multiple == 0 else model.min_size
    shape = (1, network.config["in_channels"], size, size)
    sample = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    official = {name: tensor.float() for name, tensor in strip_data_parallel(tensors).items()}
    expected = official_output(official, sample, padding_mode)
    difference = (model(sample, return_dict=False)[0] - expected).abs().max().item()
    # Scores have no bound: relative to the largest there.
    if not difference <= PARITY_TOLERANCE * max(1.0, expected.abs().max().item()):
        raise ValueError(
            f"{path}: the converted network's output differs from the official one's by {difference:.1e}, "
            f"expected at most {PARITY_TOLERANCE:.0e}."
        )
    return NetworkReport(
        role=role,
        official_name=OFFICIAL_NAMES[role],
        source=path.name,
        sha256=sha256(path),
        model_class=network.model_class.__name__,
        config=network.config,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        tensors=[
            {"source": source, "target": target, "shape": list(network.state_dict[target].shape)}
            for target, source in network.sources.items()
        ],
        filled=list(network.filled),
        dropped=list(network.dropped),
        input_size=size,
        max_difference=difference,
    )


def _domain_channels(networks: Mapping[str, MappedNetwork]) -> dict[str, int]:
    """The channels of each domain's pictures, on which all networks must agree."""
    channels: dict[str, tuple[str, int]] = {}
    for role, network in networks.items():
        ends = {role[-1]: "in_channels"} if network.kind == "discriminator" else {}
        if network.kind == "generator":
            ends = {role[-3]: "in_channels", role[-1]: "out_channels"}
        for domain, end in ends.items():
            other, expected = channels.setdefault(domain, (role, network.config[end]))
            if network.config[end] != expected:
                raise ValueError(
                    f"the networks do not fit one another: `{role}` has {network.config[end]} channels in domain "
                    f"{domain}, `{other}` has {expected}."
                )
    return {domain: count for domain, (_, count) in channels.items()}


def _image_processor(num_channels: int, networks: Mapping[str, MappedNetwork]) -> dict[str, Any]:
    """Settings of a domain's processor; a U-Net's training size is the one that leaves one position in its middle."""
    side = _unet_size(networks)
    return {"num_channels": num_channels, "size": [side, side] if side else None}


def _unet_size(networks: Mapping[str, MappedNetwork]) -> int:
    widths = [n.config["block_out_channels"] for n in networks.values() if n.model_class is UnetGenerator]
    return max((2 ** len(w) for w in widths), default=0)


def _notes(networks: Mapping[str, MappedNetwork], padding_mode: PaddingMode) -> list[str]:
    """What the files could not tell, and where the official test script behaves otherwise."""
    generators = [network for network in networks.values() if network.kind == "generator"]
    notes = []
    if any("padding_mode" in network.config for network in generators):
        official = "the official default" if padding_mode == "reflect" else "as asked for"
        notes.append(f"The files do not tell the padding: `{padding_mode}`, {official}.")
    if side := _unet_size(networks):
        notes.append(f"The files do not tell a U-Net's training size ({side}² by its depth) nor its dropout.")
    if len(generators) < len(networks):
        notes.append("The files do not tell a discriminator's output activation: none.")
    if any(network.config["norm_type"] == "batch" for network in generators):
        notes.append("Batch norm translates with the stored statistics, as the official test.py does with --eval.")
    if any(network.config["dropout_prob"] > 0 for network in generators):
        notes.append("Dropout is off in translating; the official test.py leaves it on unless --no_dropout or --eval.")
    return notes
