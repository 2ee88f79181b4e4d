"""Pictures in, pictures out: the CycleGAN pipeline."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils import BaseOutput

from cyclegan_hf.hardware import available_memory, fast_dtype
from cyclegan_hf.hub_card import bare_facts, pipeline_card
from cyclegan_hf.hub_layout import REPLACED
from cyclegan_hf.image_processor import ImageInput, ImageProcessor, OutputType, Rounding
from cyclegan_hf.models.publishing import PushMixin
from cyclegan_hf.pipelines.folders import find_folder
from cyclegan_hf.pipelines.official import official_arguments
from cyclegan_hf.pipelines.pipeline_exported import ExportedPipeline
from cyclegan_hf.pipelines.storage import cast, load_component, whole_folder
from cyclegan_hf.pipelines.strips import bytes_in_strips, bytes_whole, fits, takes_strips, translate_in_strips
from cyclegan_hf.pipelines.walk import Domain, domains_of, require, walk
from cyclegan_hf.saved_files import INDEX_NAME, read_json


logger = logging.getLogger(__name__)

_GENERATORS = ["generator_a2b", "generator_b2a"]


@dataclass
class CycleGANPipelineOutput(BaseOutput):
    """Output of [`CycleGANPipeline`].

    Args:
        images (`list` of `PIL.Image.Image`, `np.ndarray` or `torch.Tensor`): the translations, in input order. Arrays
            are `(height, width, channels)`, tensors `(channels, height, width)`, both float32 in [0, 1].
        cycles (`list`, *optional*): each translation translated back, where asked for; ideally the input again.
        sizes (`list[tuple[int, int]]`): the (height, width) at which each picture went through the generator. Where it
            is not the picture's own size, the result was resized back, and cannot be sharper than this.
    """

    images: list[Any]
    cycles: list[Any] | None = None
    sizes: list[tuple[int, int]] | None = None


class CycleGANPipeline(PushMixin, DiffusionPipeline):  # type: ignore[misc]
    """Translates pictures between two domains, a and b (Zhu et al. 2017, "Unpaired Image-to-Image Translation").

    Either generator may be missing: such a pipeline translates in one direction. The domains' names and what turns
    their pictures into tensors are part of the saved configuration, so that a checkpoint needs no settings.

    Args:
        generator_a2b: turns pictures of domain a into pictures of domain b.
        generator_b2a: the other way round.
        domain_a: name of domain a, such as `"summer"`.
        domain_b: name of domain b.
        image_processor_a (`ImageProcessor` or its JSON form): for domain a; by default [-1, 1] with as many channels
            as the generators have on this side.
        image_processor_b: for domain b.
    """

    memory_budget: int | None = None
    """Bytes that a picture may take on its way through a generator; by default 1 GiB, on a GPU half of what is free.
    Larger ones go through a `ResnetGenerator` or `LocalAffineGenerator` in strips, with the same result; other
    generators take them whole."""

    on_piece: Callable[[int, int], None] | None = None
    """Told, while a large picture goes through in strips, how many pieces are done, and of how many."""

    _optional_components = _GENERATORS
    model_cpu_offload_seq = "generator_a2b->generator_b2a"  # type: ignore[assignment]

    def __init__(
        self,
        generator_a2b: ModelMixin | None = None,
        generator_b2a: ModelMixin | None = None,
        domain_a: str = "a",
        domain_b: str = "b",
        image_processor_a: ImageProcessor | dict[str, Any] | None = None,
        image_processor_b: ImageProcessor | dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if generator_a2b is None and generator_b2a is None:
            raise ValueError("expected `generator_a2b`, `generator_b2a` or both, got neither")
        if not (domain_a and domain_b) or domain_a == domain_b:
            raise ValueError(
                f"`domain_a` and `domain_b` must be two different names, got {domain_a!r} and {domain_b!r}"
            )
        forward = generator_a2b.config if generator_a2b is not None else None
        backward = generator_b2a.config if generator_b2a is not None else None
        channels_a = {config[key] for config, key in ((forward, "in_channels"), (backward, "out_channels")) if config}
        channels_b = {config[key] for config, key in ((forward, "out_channels"), (backward, "in_channels")) if config}
        self.register_modules(generator_a2b=generator_a2b, generator_b2a=generator_b2a)
        self.register_to_config(
            domain_a=domain_a,
            domain_b=domain_b,
            image_processor_a=_processor_config("a", image_processor_a, channels_a),
            image_processor_b=_processor_config("b", image_processor_b, channels_b),
        )

    @property
    def image_processor_a(self) -> ImageProcessor:
        """Turns pictures of domain a into tensors and back."""
        return ImageProcessor.from_config(self.config["image_processor_a"])

    @property
    def image_processor_b(self) -> ImageProcessor:
        """Turns pictures of domain b into tensors and back."""
        return ImageProcessor.from_config(self.config["image_processor_b"])

    @torch.inference_mode()
    def __call__(
        self,
        image: ImageInput | Iterable[ImageInput],
        direction: str = "a2b",
        return_cycle: bool = False,
        size: int | tuple[int, int] | None = None,
        batch_size: int = 1,
        output_type: OutputType = "pil",
        rounding: Rounding = "nearest",
        return_dict: bool = True,
    ) -> CycleGANPipelineOutput | tuple[list[Any], list[Any] | None]:
        """Translates one picture or many.

        Pictures of any size keep it: they are reflect-padded to what the generator takes, and the result is cropped.
        Generators that are bound to their training size (U-Nets) see the picture resized, aspect kept, and the result
        is resized back; the output's `sizes` tells.

        Args:
            image: a picture or a list of them, each a PIL picture, a path, bytes, a file, a NumPy array (uint8, or
                float in [0, 1], of shape `(H, W)`, `(H, W, C)` or `(B, H, W, C)`), or a torch tensor (uint8, or float
                in [0, 1], of shape `(C, H, W)` or `(B, C, H, W)`).
            direction: `"a2b"` or `"b2a"`, or the same with the domains' names, such as `"summer2winter"`.
            return_cycle: also translate each result back.
            size: run the generator at pictures that fit into this (height, width), aspect kept, and resize the results
                back. By default each picture's own size, or the training size where the generator is bound to it.
            batch_size: the most pictures to translate at once. Pictures of different sizes never share a batch.
            output_type: `"pil"`, `"np"` or `"pt"`.
            rounding: of `"pil"` pixels: `"nearest"`, or `"truncate"` as the official code does.
            return_dict: return a [`CycleGANPipelineOutput`] or the tuple (images, cycles).

        Returns:
            [`CycleGANPipelineOutput`] or `tuple`: the results in input order.

        Raises:
            ValueError: a picture that cannot be read or is of another form, a direction that this pipeline does not
                have, or results that are not finite.
        """
        source, target = domains_of(direction, *self._names)
        chain = [self._generator(source, target)] + ([self._generator(target, source)] if return_cycle else [])
        processors = {"a": self.image_processor_a, "b": self.image_processor_b}
        with _evaluating(chain):
            walked = walk(
                image,
                chain,
                self._run,
                (source, processors[source]),
                (target, processors[target]),
                size=size,
                batch_size=batch_size,
                output_type=output_type,
                rounding=rounding,
                progress=lambda total: self.progress_bar(total=total),
            )
        cycles = walked.cycles if return_cycle else None
        if not return_dict:
            return walked.images, cycles
        return CycleGANPipelineOutput(images=walked.images, cycles=cycles, sizes=walked.sizes)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None,
        *,
        subfolder: str | None = None,
        revision: str | None = None,
        variant: str | None = None,
        dtype: torch.dtype = torch.float32,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        official: bool = False,
        backend: Literal["torch", "onnx", "openvino"] = "torch",
        **unknown: Any,
    ) -> Any:
        """Loads a pipeline, in evaluation mode, from safetensors files only.

        Args:
            pretrained_model_name_or_path: a folder, a Hub id, or `None` for the weights that come with the library
                (no network, no token).
            subfolder: where the pipeline is inside the folder or the repository, such as `"best"`.
            revision: branch, tag or commit on the Hub.
            variant: of the weight files, such as `"fp16"`.
            dtype: of the loaded generators, whatever the files hold.
            token: for private repositories; by default the stored one.
            cache_dir: where downloads are kept.
            local_files_only: use what was downloaded before, and no network.
            force_download: download again.
            official: the files are the official code's (`latest_net_G_A.pth` and `latest_net_G_B.pth`, or
                `latest_net_G.pth`): convert them on the way.
            backend: what computes: `"torch"`, or the graphs that `cyclegan-hf export` wrote beside the weights, with
                `"onnx"` (ONNX Runtime) or `"openvino"`. A processor is faster with those, at differences in the last
                bits; the pipeline then is an `ExportedPipeline`, which translates and nothing else.
            **unknown: refused.

        Returns:
            `CycleGANPipeline` or, with another backend than torch, `ExportedPipeline`.

        Raises:
            ValueError: an unknown keyword (the message names the nearest valid one), nothing of that name, or files
                that are missing, damaged or not this library's.
        """
        if unknown:
            parameters = inspect.signature(cls.from_pretrained).parameters.values()
            known = [parameter.name for parameter in parameters if parameter.kind != parameter.VAR_KEYWORD]
            name = next(iter(unknown))
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
            raise ValueError(f"unknown keyword `{name}`; the nearest valid one is `{nearest}`")
        hub: dict[str, Any] = {
            "revision": revision,
            "token": token,
            "cache_dir": cache_dir,
            "local_files_only": local_files_only,
            "force_download": force_download,
        }
        model = pretrained_model_name_or_path
        if backend != "torch":
            if official or variant or dtype != torch.float32:
                raise ValueError(f"`backend={backend!r}` takes a graph as it is: no `official`, `variant` or `dtype`")
            return ExportedPipeline.from_pretrained(model, backend, subfolder=subfolder, **hub)
        if official:
            return cls(**official_arguments(model, dtype, subfolder=subfolder, variant=variant, **hub))
        folder = find_folder(model, _GENERATORS, subfolder=subfolder, variant=variant, **hub)
        index = read_json(folder / INDEX_NAME)
        if index.get("_class_name") != cls.__name__:
            raise ValueError(f"{folder}: expected a saved {cls.__name__}, got {index.get('_class_name')!r}")
        settings: dict[str, Any] = {}
        for key, value in index.items():
            if key in _GENERATORS:
                absent = value is None or value == [None, None]
                settings[key] = None if absent else load_component(folder / key, value, variant, dtype)
            elif key in inspect.signature(cls.__init__).parameters:
                settings[key] = value
            elif not key.startswith("_"):
                raise ValueError(f"{folder / INDEX_NAME}: this version does not know the setting `{key}`")
        return cls(**settings)

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | os.PathLike[str], *, safe_serialization: bool = True, variant: str | None = None
    ) -> None:
        """Saves configuration and weights, in their present dtype; a failure, a full disk for one, changes nothing.

        Args:
            save_directory: a folder, made if need be. Files in it that are not the pipeline's stay.
            safe_serialization: only `True`: weights are written as safetensors.
            variant: part of the weight files' names, such as `"fp16"`.

        Raises:
            OSError: the files could not be written.
        """
        if not safe_serialization:
            raise ValueError("weights are saved as safetensors only, got `safe_serialization=False`")
        with whole_folder(Path(save_directory)) as folder:
            super().save_pretrained(folder, safe_serialization=True, variant=variant)

    def optimize(self, *, compile: bool = False, dtype: torch.dtype | None = None) -> Self:
        """Fits the generators to the hardware they are on, in place. Move the pipeline first, with `.to(device)`.

        The precision becomes bfloat16 where the hardware computes in it (CUDA, processors with AMX or AVX512-BF16):
        with AMX about three times as fast, at a mean difference of about one of 255 levels from float32. On CUDA the
        weights become channels-last, and compiled on processors; uncompiled, where that measured slower there, they
        keep their layout.

        Args:
            compile: also compile; worth it for many pictures of few sizes, since each new size compiles again. On
                processors the weights become constants of the compiled code: load others before.
            dtype: a precision of your choice.

        Returns:
            The pipeline itself.
        """
        for name in _GENERATORS:
            generator = getattr(self, name)
            if generator is None:
                continue
            device = generator.device
            chosen = dtype or fast_dtype(device) or generator.dtype
            innermost = device.type == "cuda" or (compile and device.type == "cpu")
            layout = torch.channels_last if innermost else torch.preserve_format
            cast(generator, dtype=chosen, memory_format=layout)
            if compile:
                generator.compile(options={"freezing": device.type == "cpu"})  # frees the weights to be laid out anew
            logger.info("%s on %s: %s, %s%s", name, device, chosen, layout, ", compiled" if compile else "")
        return self

    def _card(self) -> str:
        generators = {name: getattr(self, name) for name in _GENERATORS if getattr(self, name) is not None}
        return pipeline_card(bare_facts(self.config["domain_a"], self.config["domain_b"], generators))

    def _marker(self) -> tuple[str, str]:
        return INDEX_NAME, f'"{type(self).__name__}"'

    def _replaced(self) -> list[str]:
        return REPLACED

    @property
    def _names(self) -> tuple[str, str]:
        return self.config["domain_a"], self.config["domain_b"]

    def _generator(self, source: Domain, target: Domain) -> Any:
        return require(getattr(self, f"generator_{source}2{target}"), source, target, *self._names)

    def _run(self, generator: Any, sample: np.ndarray | torch.Tensor) -> torch.Tensor:
        tensor = torch.from_numpy(sample) if isinstance(sample, np.ndarray) else sample
        tensor = tensor.to(self._execution_device, generator.dtype)
        if fits(generator, tensor, self._budget()):
            return generator(tensor).sample
        in_strips = takes_strips(generator)
        _require_memory(tensor, (bytes_in_strips if in_strips else bytes_whole)(generator, tensor))
        if in_strips:
            return translate_in_strips(generator, tensor, on_piece=self.on_piece)
        return generator(tensor).sample

    def _budget(self) -> int:
        if self.memory_budget is not None:
            return self.memory_budget
        if self._execution_device.type == "cuda":
            return torch.cuda.mem_get_info(self._execution_device)[0] // 2
        return 2**30


def _require_memory(sample: torch.Tensor, needed: int) -> None:
    """Refuse a picture that would end this process, or others on the machine, for want of memory."""
    available = available_memory() if sample.device.type == "cpu" else None
    if available is not None and needed > available:
        raise ValueError(
            f"{sample.shape[3]}x{sample.shape[2]} pixels need about {needed / 1e9:.1f} GB of memory with this model, "
            f"and {available / 1e9:.1f} GB are free: translate at a smaller size (`size=`, `--size`), which is "
            "resized back"
        )


@contextlib.contextmanager
def _evaluating(networks: list[ModelMixin]) -> Iterator[None]:
    """Turns dropout off and batch statistics to the stored ones, also in the middle of a training run."""
    training = [network.training for network in networks]
    try:
        for network in networks:
            network.eval()
        yield
    finally:
        for network, mode in zip(networks, training, strict=True):
            network.train(mode)


def _processor_config(
    domain: Domain, processor: ImageProcessor | dict[str, Any] | None, channels: set[int]
) -> dict[str, Any]:
    """The JSON form of a domain's processor, checked against the generators' channels on that side."""
    if len(channels) != 1:
        raise ValueError(f"both generators must have the same channels in domain {domain}, got {sorted(channels)}")
    (num_channels,) = channels
    if processor is None:
        processor = ImageProcessor(num_channels=num_channels)
    elif not isinstance(processor, ImageProcessor):
        processor = ImageProcessor.from_config(processor)
    if processor.num_channels != num_channels:
        raise ValueError(
            f"`image_processor_{domain}` has {processor.num_channels} channels, but the generators have {num_channels}"
        )
    return processor.to_config()
