"""Official weight files to networks of this library, each compared with the official one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from cyclegan_hf.models.generator_unet import UnetGenerator
from cyclegan_hf.models.layers import PaddingMode
from cyclegan_hf.official.files import read_tensors, sha256
from cyclegan_hf.official.layout import Kind, MappedNetwork, map_official_state_dict, strip_wrappers
from cyclegan_hf.official.parity import official_output


Direction = Literal["a2b", "b2a"]

PARITY_TOLERANCE = 1e-4

# The official names say which way a generator goes, and with which one a discriminator plays: D_A judges domain B.
OFFICIAL_NAMES = {
    "generator_a2b": "G_A",
    "generator_b2a": "G_B",
    "discriminator_b": "D_A",
    "discriminator_a": "D_B",
}


def role_kind(role: str) -> Kind:
    """Return the kind of network of a role (`generator_a2b`, …)."""
    return "generator" if role.startswith("generator_") else "discriminator"


@dataclass(frozen=True, kw_only=True)
class NetworkReport:
    """Result of converting one file.

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
        dropped: Tensors of the file that are not used (recorded statistics).
        input_size: Height and width of the random picture on which the outputs were compared.
        max_difference: Largest difference between our output and that of the official network, rebuilt independently
            from the same file, both in evaluation mode, or with the picture's own statistics where they are used.
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
class ConvertedNetworks:
    """Networks that fit one another.

    Attributes:
        networks: By role.
        reports: One a network.
        channels: Of the pictures of domains `"a"` and `"b"`.
    """

    networks: dict[str, MappedNetwork]
    reports: list[NetworkReport]
    channels: dict[str, int]

    @property
    def stored_statistics(self) -> bool:
        """Return whether a generator translates with the statistics stored in its batch norms."""
        generators = [network for network in self.networks.values() if network.kind == "generator"]
        return any(network.config["norm_type"] == "batch" for network in generators)

    @property
    def unet_size(self) -> int:
        """Return a U-Net's training size from its depth (one position in the middle), 0 without a U-Net."""
        unets = [network for network in self.networks.values() if network.model_class is UnetGenerator]
        return max((2 ** len(network.config["block_out_channels"]) for network in unets), default=0)

    def pipeline_arguments(self) -> dict[str, Any]:
        """Return the generators and image processors of a pipeline."""
        size = [self.unet_size, self.unet_size] if self.unet_size else None
        processors = {
            f"image_processor_{domain}": {"num_channels": count, "size": size}
            for domain, count in self.channels.items()
        }
        generators = {role: network for role, network in self.networks.items() if network.kind == "generator"}
        return processors | {role: network.build() for role, network in generators.items()}


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


def convert_networks(
    files: Mapping[str, Path],
    padding_mode: PaddingMode = "reflect",
    dropout_prob: float | None = None,
    batch_statistics: bool = False,
) -> ConvertedNetworks:
    """Convert files, and compare each network with the official one on a random picture.

    Args:
        files: By role, as `roles` gives them.
        padding_mode: See [`map_official_state_dict`].
        dropout_prob: See [`map_official_state_dict`].
        batch_statistics: See [`map_official_state_dict`].

    Raises:
        ValueError: A file is not what it should be, no generator has batch norms though their statistics were named,
            the networks do not fit one another, or an output differs from the
            official network's by more than 1e-4.
    """
    networks: dict[str, MappedNetwork] = {}
    reports = []
    for role, path in files.items():
        tensors = read_tensors(path)
        network = _network(path, tensors, role_kind(role), padding_mode, dropout_prob, batch_statistics)
        networks[role] = network
        reports.append(_compared(role, path, tensors, network, padding_mode))
    norms = {network.config["norm_type"] for network in networks.values() if network.kind == "generator"}
    if batch_statistics and "instance_affine" not in norms:
        raise ValueError(
            f"`batch_statistics` is for generators with batch norm, these have {' and '.join(sorted(norms))}: leave "
            "it out."
        )
    return ConvertedNetworks(networks=networks, reports=reports, channels=_domain_channels(networks))


def roles(
    generators: Sequence[str | Path], discriminators: Sequence[str | Path], direction: Direction | None
) -> dict[str, Path]:
    """Assign each file to a network.

    Args:
        generators: The files of G_A (a to b) and G_B (b to a), in this order, or of one generator.
        discriminators: As many files, in the same order, or none.
        direction: Which way a single generator goes; by default what its name says, or `"a2b"`.

    Raises:
        ValueError: Too many files, or names that say otherwise.
    """
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
    found = {f"generator_{d}": Path(path) for d, path in zip(directions, generators, strict=True)}
    for d, path in zip(directions, discriminators, strict=False):
        found[f"discriminator_{d[-1]}"] = Path(path)  # judges the domain that its generator draws
    if direction is None:
        for role, path in found.items():
            if (name := _official_name(path)) is not None and name != OFFICIAL_NAMES[role]:
                raise ValueError(f"expected {OFFICIAL_NAMES[role]} for `{role}`, got {path.name}.")
    return found


def _official_name(path: str | Path) -> str | None:
    """Return `G_A`, `G_B`, `D_A` or `D_B` if a file's name ends in it."""
    match = re.search(r"_net_([GD]_[AB])$", Path(path).stem)
    return match[1] if match else None


def _network(
    path: str | Path,
    tensors: Mapping[str, torch.Tensor],
    kind: Kind,
    padding_mode: PaddingMode,
    dropout_prob: float | None,
    batch_statistics: bool = False,
) -> MappedNetwork:
    try:
        network = map_official_state_dict(
            tensors, padding_mode=padding_mode, dropout_prob=dropout_prob, batch_statistics=batch_statistics
        )
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
    official = {name: tensor.float() for name, tensor in strip_wrappers(tensors).items()}
    if network.config["norm_type"] == "instance_affine":
        official = {name: tensor for name, tensor in official.items() if ".running_" not in name}
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
    """Return the image channels of each domain, on which all networks must agree."""
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
