"""The clients' process: what tests have done there. It reads HF_ENDPOINT at import, as this one must not."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any


Client = Callable[..., Any]
"""Runs a function of a test module in the clients' process."""


class ClientError(Exception):
    """What went wrong in the clients' process: the name of the exception's class, and its text."""


def set_environment(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, str | None]:
    """What a function returns, or how it fails (not each exception survives a pickle)."""
    try:
        return function(*args, **kwargs), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def call(name: str, *args: Any, **kwargs: Any) -> Any:
    """A function of `huggingface_hub`."""
    import huggingface_hub

    result = getattr(huggingface_hub, name)(*args, **kwargs)
    return list(result) if isinstance(result, Iterator) else result


@contextlib.contextmanager
def token(value: str | None) -> Iterator[None]:
    """Another token than the "write" one, or none."""
    before = os.environ.pop("HF_TOKEN", None)
    if value is not None:
        os.environ["HF_TOKEN"] = value
    try:
        yield
    finally:
        os.environ.pop("HF_TOKEN", None)
        if before is not None:
            os.environ["HF_TOKEN"] = before


def command(words: list[str], hf_token: str | None, folder: str) -> tuple[int, str, str]:
    """A command of `cyclegan-hf`: exit code, output, errors."""
    from cyclegan_hf.cli import main

    output, errors = io.StringIO(), io.StringIO()
    here = Path.cwd()
    with token(hf_token), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        os.chdir(folder)
        try:
            code = main(words)
        finally:
            os.chdir(here)
            sys.stdout.flush()
    return code, output.getvalue(), errors.getvalue()


def make_pipeline(folder: str, seed: int = 0, **settings: Any) -> str:
    """Save a pipeline of tiny networks."""
    import torch

    from cyclegan_hf import CycleGANPipeline, ResnetGenerator

    torch.manual_seed(seed)
    generators = [ResnetGenerator(block_out_channels=(4, 8), num_res_blocks=1) for _ in range(2)]
    names = {"domain_a": "summer", "domain_b": "winter"} | settings
    CycleGANPipeline(*generators, **names).save_pretrained(folder)
    return folder


def load(model: str, hf_token: str | None = "", **settings: Any) -> dict[str, bytes]:
    """The weights of a pipeline, by generator and tensor."""
    from cyclegan_hf import CycleGANPipeline

    with token(hf_token) if hf_token != "" else contextlib.nullcontext():
        pipeline = CycleGANPipeline.from_pretrained(model, **settings)
    parts = {name: getattr(pipeline, name) for name in ("generator_a2b", "generator_b2a")}
    return {
        f"{name}.{key}": tensor.float().numpy().tobytes()
        for name, part in parts.items()
        if part is not None
        for key, tensor in part.state_dict().items()
    }
