"""Pictures in, pictures out: the CycleGAN pipeline."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from cyclegan_hf.atomic import whole_folder
from cyclegan_hf.hardware import fast_dtype
from cyclegan_hf.hub.card import bare_facts, pipeline_card
from cyclegan_hf.hub.locate import find_folder
from cyclegan_hf.image_processor import ImageInput, ImageProcessor, OutputType, Rounding
from cyclegan_hf.models.publishing import PushMixin
from cyclegan_hf.pipelines.official import official_arguments
from cyclegan_hf.pipelines.outputs import CycleGANPipelineOutput
from cyclegan_hf.pipelines.pipeline_exported import ExportedPipeline
from cyclegan_hf.pipelines.settings import (
    as_device,
    as_dtype,
    check_shard_size,
    constructor_arguments,
    evaluating,
    processor_config,
    refuse_unknown,
)
from cyclegan_hf.pipelines.storage import cast, load_settings, name_custom_pipeline
from cyclegan_hf.pipelines.strips import (
    bytes_in_strips,
    bytes_whole,
    fits,
    require_memory,
    takes_strips,
    translate_in_strips,
)
from cyclegan_hf.pipelines.walk import Domain, domains_of, require, walk
from cyclegan_hf.saved_format import GENERATORS, INDEX_NAME, REPLACED


logger = logging.getLogger(__name__)


class CycleGANPipeline(PushMixin, DiffusionPipeline):  # type: ignore[misc]
    """Translate images between two domains, a and b (Zhu et al. 2017, "Unpaired Image-to-Image Translation").

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

    _optional_components = list(GENERATORS)  # noqa: RUF012
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
            image_processor_a=processor_config("a", image_processor_a, channels_a),
            image_processor_b=processor_config("b", image_processor_b, channels_b),
        )

    @property
    def image_processor_a(self) -> ImageProcessor:
        """The processor that turns images of domain a into tensors and back."""
        return ImageProcessor.from_config(self.config["image_processor_a"])

    @property
    def image_processor_b(self) -> ImageProcessor:
        """The processor that turns images of domain b into tensors and back."""
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
        """Translate one image or many.

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
        with evaluating(chain):
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
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        device_map: str | torch.device | None = None,
        use_safetensors: bool | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        official: bool = False,
        backend: Literal["torch", "onnx", "openvino"] = "torch",
        batch_statistics: bool = False,
        **parts: Any,
    ) -> Any:
        """Load a pipeline in evaluation mode, from safetensors files only.

        Args:
            pretrained_model_name_or_path: a folder, a Hub id, or `None` for the weights that come with the library
                (no network, no token).
            subfolder: where the pipeline is inside the folder or the repository, such as `"best"`.
            revision: branch, tag or commit on the Hub.
            variant: of the weight files, such as `"fp16"`.
            dtype: of the loaded generators: a `torch.dtype`, its name such as `"float16"`, or `"auto"` for what the
                files hold; by default float32.
            torch_dtype: another name of `dtype`.
            device_map: where to put the generators: one device such as `"cpu"`, `"cuda"` or `"cuda:1"`.
            use_safetensors: only `True` or `None`: nothing else is loaded.
            token: for private repositories; by default the stored one.
            cache_dir: where downloads are kept.
            local_files_only: use what was downloaded before, and no network.
            force_download: download again.
            official: the files are the official code's (`latest_net_G_A.pth` and `latest_net_G_B.pth`, or
                `latest_net_G.pth`): convert them on the way.
            backend: what computes: `"torch"`, or the graphs that `cyclegan-hf export` wrote beside the weights, with
                `"onnx"` (ONNX Runtime) or `"openvino"`. A processor is faster with those, at differences in the last
                bits; the pipeline then is an `ExportedPipeline`, which translates and nothing else.
            batch_statistics: with `official`: batch norms use each picture's own statistics, as the official code's
                `test.py` does without `--eval`, and not the stored ones.
            **parts: in place of what was saved, any argument of the constructor: `generator_a2b=generator` replaces
                that generator, `generator_b2a=None` leaves it out (its weights are not fetched), and `domain_a`,
                `domain_b`, `image_processor_a`, `image_processor_b` replace those settings. Anything else is refused.

        Returns:
            `CycleGANPipeline` or, with another backend than torch, `ExportedPipeline`.

        Raises:
            ValueError: an unknown keyword (the message names the one that may be meant), nothing of that name, or
                files that are missing, damaged or not this library's.
        """
        refuse_unknown(cls.from_pretrained, parts, also=constructor_arguments(cls))
        chosen = as_dtype(dtype, torch_dtype)
        device = None if device_map is None else as_device(device_map)
        if use_safetensors is False:
            raise ValueError("weights are loaded from safetensors files only, got `use_safetensors=False`")
        if batch_statistics and not official:
            raise ValueError("`batch_statistics` is for files of the official code: set `official` or leave it out")
        hub: dict[str, Any] = {
            "revision": revision,
            "token": token,
            "cache_dir": cache_dir,
            "local_files_only": local_files_only,
            "force_download": force_download,
        }
        model = pretrained_model_name_or_path
        if backend != "torch":
            if official or variant or device or parts or chosen not in (None, torch.float32):
                raise ValueError(
                    f"`backend={backend!r}` takes a graph as it is: no `official`, `variant`, `dtype`, `device_map` "
                    "or other generators"
                )
            return ExportedPipeline.from_pretrained(model, backend, subfolder=subfolder, **hub)
        settings: dict[str, Any]
        if official:
            settings = official_arguments(
                model, chosen, subfolder=subfolder, variant=variant, batch_statistics=batch_statistics, **hub
            )
        else:
            wanted = [name for name in GENERATORS if name not in parts]
            folder = find_folder(model, wanted, subfolder=subfolder, variant=variant, **hub)
            settings = load_settings(folder, cls.__name__, constructor_arguments(cls), wanted, variant, chosen)
        pipeline = cls(**settings | parts)
        return pipeline if device is None else pipeline.to(device)

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **settings: Any) -> Self:
        """Make a pipeline out of another one's networks, which both then share.

        Args:
            pipeline: The other pipeline.
            **settings: Arguments of the constructor that replace the other's, such as `domain_a="meadow"` or
                `generator_b2a=None`; and `dtype` (or `torch_dtype`), to which the shared networks are cast.

        Raises:
            ValueError: The other pipeline is of another kind, or a keyword is not known.
        """
        if not isinstance(pipeline, CycleGANPipeline):
            raise ValueError(f"expected a {cls.__name__}, got a {type(pipeline).__name__}")
        dtype = as_dtype(settings.pop("dtype", None), settings.pop("torch_dtype", None))
        refuse_unknown(cls.from_pipe, settings, also=[*constructor_arguments(cls), "dtype", "torch_dtype"])
        config = {key: pipeline.config[key] for key in constructor_arguments(cls) if key not in GENERATORS}
        made = cls(**{name: getattr(pipeline, name) for name in GENERATORS} | config | settings)
        for name in GENERATORS:
            if dtype is not None and (generator := getattr(made, name)) is not None:
                cast(generator, dtype=dtype)
        return made

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | os.PathLike[str],
        *,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        push_to_hub: bool = False,
        **push: Any,
    ) -> None:
        """Save configuration and weights in their current dtype; a failure, such as a full disk, changes nothing.

        The folder gets a `pipeline.py` of a few lines. With it, `DiffusionPipeline.from_pretrained` of diffusers loads
        this class too, for users who pass `trust_remote_code=True` there; this library never reads it.

        Args:
            save_directory: a folder, made if need be. Files in it that are not the pipeline's stay.
            safe_serialization: only `True`: weights are written as safetensors.
            variant: part of the weight files' names, such as `"fp16"`.
            max_shard_size: refused where a generator is larger, such as `"10GB"`: each is written as one file.
            push_to_hub: also push what was saved to the Hub.
            **push: of the push: `repo_id` (by default the folder's name) and the arguments of [`push_to_hub`].

        Raises:
            OSError: the files could not be written.
            ValueError: an argument that is not taken, or a push that the Hub refused.
        """
        if not safe_serialization:
            raise ValueError("weights are saved as safetensors only, got `safe_serialization=False`")
        if not push_to_hub:
            refuse_unknown(self.save_pretrained, push)
        if max_shard_size is not None:
            check_shard_size(max_shard_size, [getattr(self, name) for name in GENERATORS])
        with whole_folder(Path(save_directory)) as folder:
            super().save_pretrained(folder, safe_serialization=True, variant=variant)
            name_custom_pipeline(folder, type(self).__name__)
        if push_to_hub:
            refuse_unknown(self.push_to_hub, push)
            self.push_to_hub(push.pop("repo_id", None) or Path(save_directory).resolve().name, **push)

    def optimize(self, *, compile: bool = False, dtype: torch.dtype | None = None) -> Self:
        """Fit the generators to their hardware, in place. Move the pipeline first, with `.to(device)`.

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
        for name in GENERATORS:
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
        generators = {name: getattr(self, name) for name in GENERATORS if getattr(self, name) is not None}
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
        require_memory(tensor, (bytes_in_strips if in_strips else bytes_whole)(generator, tensor))
        if in_strips:
            return translate_in_strips(generator, tensor, on_piece=self.on_piece)
        return generator(tensor).sample

    def _budget(self) -> int:
        if self.memory_budget is not None:
            return self.memory_budget
        if self._execution_device.type == "cuda":
            return torch.cuda.mem_get_info(self._execution_device)[0] // 2
        return 2**30
