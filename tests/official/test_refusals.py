"""What must not be converted, and is refused in one line."""

import gzip
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from cyclegan_hf import ResnetGenerator, convert_official_checkpoint
from cyclegan_hf.official.networks import load_official_network
from tests.official.official_networks import Patch, Pixel, Resnet, save, small_resnet


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("inside", ["alone", "beside tensors"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_file_is_named_and_not_run(tmp_path: Path, form: str, inside: str, protocol: int) -> None:
    path, marker = tmp_path / "latest_net_G.pth", tmp_path / "pwned"
    content: Any = Malicious(marker)
    if inside == "beside tensors":
        content = OrderedDict(small_resnet().state_dict(), extra=content)
    if form == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    else:
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ValueError) as error:
        convert_official_checkpoint([path], tmp_path / "model")
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert "holds code" in str(error.value) and "mkdir" in str(error.value) and "run" in str(error.value)
    assert not marker.exists()
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert marker.exists()  # the file does harm where it is trusted: the test is one


def write_bytes(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def write(content: Any, **kwargs: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path, **kwargs)


def write_half(**kwargs: Any) -> Callable[[Path], None]:
    def half(path: Path) -> None:
        save(path, small_resnet(), **kwargs)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return half


def write_zip(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "nothing here")

    return write


def write_tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "latest_net_G.pth")


def write_numpy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def write_numpy_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, weight=np.zeros(3), bias=np.zeros(3))


def write_torchscript(path: Path) -> None:
    with torch.jit.optimized_execution(False):
        torch.jit.save(torch.jit.trace(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2)), path)


def changed(network: nn.Module, **changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """A state dict with tensors replaced, added or (`None`) removed; `__` stands for a dot."""
    tensors = dict(network.state_dict())
    for name, value in changes.items():
        tensors.pop(name.replace("__", "."), None)
        if value is not None:
            tensors[name.replace("__", ".")] = value
    return tensors


def zero_padded_convolutions() -> dict[str, torch.Tensor]:
    """The official `padding_type="zero"`: without a layer for it, the blocks' convolutions move up."""
    moves = {"conv_block.1.": "conv_block.0.", "conv_block.5.": "conv_block.3."}
    tensors = {}
    for name, tensor in small_resnet().state_dict().items():
        for old, new in moves.items():
            name = name.replace(old, new)
        tensors[name] = tensor
    return tensors


CUT_NAMES = {"model.1.weight": torch.zeros(4, 3, 7, 7), "model.7.filt": torch.zeros(8, 1, 3, 3)}
TINY = {"block_out_channels": (4, 8), "num_res_blocks": 1}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (write_bytes(b""), "is empty"),
        (write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), "Git LFS pointer"),
        (write_bytes(b"<!DOCTYPE html><html><body>404 Not Found</body></html>"), "web page"),
        (write_bytes(b"\n\n  <html>"), "web page"),
        (write_bytes(b"\xef\xbb\xbf<?xml version='1.0'?><Error>AccessDenied</Error>"), "web page"),
        (write_bytes(b'{"error":\n {"code": 404}}'), r"is JSON, often a download's error message, .*\"code\": 404"),
        (write_bytes(b'{"erro":{"code":404}}'), "is JSON"),  # a brace where safetensors has its first
        (write_bytes(b"Entry not found"), "is a text that begins 'Entry not found'"),
        (write_bytes(b"hello, this is a text\n" * 20), "is a text that begins 'hello, this is a text hello"),
        (write_bytes(bytes(range(256)) * 4), "is of no known weight format"),
        (write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)), "is a picture"),
        (write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)), "is an HDF5 file, as Keras writes it"),
        (write_bytes(gzip.compress(b"weights")), "is a gzip archive, to be unpacked first"),
        (write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.8.0" + bytes(100)), "is an ONNX graph"),
        (write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(100)), "is a TensorFlow Lite model"),
        (write_bytes(b"GGUF" + bytes(100)), "is a GGUF file"),
        (write_bytes(b"%PDF-1.7\n"), "is a PDF document"),
        (write_tar, "is a tar archive, to be unpacked first"),
        (write_numpy, r"is a NumPy array \(npy\)"),
        (write_numpy_archive, r"is a NumPy archive \(npz\)"),
        (write_zip("config.json", "model.weights.h5"), "is a Keras archive"),
        (write_zip("archive/data.pkl"), "is a damaged PyTorch file"),
        (write_bytes((10**6).to_bytes(8, "little") + b'{"a": '), "damaged safetensors"),
        (write_half(), "zip archive that PyTorch cannot read, truncated"),
        (write_half(_use_new_zipfile_serialization=False), "is truncated"),
        (write_zip("readme.txt"), "is a zip archive that PyTorch did not write"),
        (write_torchscript, "is a TorchScript program"),
        (write(nn.Conv2d(3, 3, 3)), "pickled Python objects .`torch.nn.modules.conv.Conv2d`."),
        (write(Resnet(width=2, blocks=1)), "pickled Python objects .`tests.official.official_networks.Resnet`."),
        (write(torch.zeros(3)), "holds a Tensor; expected a `state_dict`"),
        (write([torch.zeros(3)]), "holds a list; expected a `state_dict`"),
        (write({}), "holds no tensors"),
        (write({"model.1.weight": torch.zeros(3).to_sparse()}), "sparse"),
        (write({"meta": {}, "state_dict": {"generators.a.x": torch.zeros(1)}}), "an mmagic checkpoint"),
        (write({"model": {"a": torch.zeros(1)}, "net": {"b": torch.zeros(1)}}), "another framework .*'model', 'net'"),
        (lambda path: os.mkfifo(path), "not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (write({"epoch": 3, "model": {}}), "another framework .* entries 'epoch', 'model'"),
        (write({"generators.photo.c.conv.weight": torch.zeros(1)}), "an mmagic checkpoint"),
        (write(CUT_NAMES), "CUT with antialiased resampling"),
        (write({f"module.{name}": tensor for name, tensor in CUT_NAMES.items()}), "CUT with antialiased resampling"),
        (
            lambda path: safetensors.torch.save_file({"text_model.weight": torch.zeros(2)}, path),
            "names such as 'text_",
        ),
        (write(ResnetGenerator(**TINY).state_dict()), "already in the layout of diffusers"),
        (write(nn.Sequential(nn.Linear(2, 2)).state_dict()), "2 tensors with names such as '0.weight', '0.bias'"),
        (write({"a\n\x1b[31mb": torch.zeros(1)}), r"names such as 'a\\n\\x1b"),
        (write({"model.1.weight": torch.zeros(4, 3, 7, 7)}), r"1 tensors with names such as 'model\.1\.weight'"),
        (write(Patch(width=2).state_dict()), r"is a discriminator \(PatchDiscriminator\), expected a generator"),
        (write(Pixel(width=2).state_dict()), r"is a discriminator \(PixelDiscriminator\), expected a generator"),
        (write(zero_padded_convolutions()), "residual blocks pad with zeros"),
        (write(changed(small_resnet(), model__1__bias=None)), "would be left over"),
        (
            write(changed(small_resnet(), model__12__weight=None)),
            "as a ResnetGenerator, 'model.12.weight' would be missing",
        ),
        (write(changed(small_resnet(), model__7__bias=torch.zeros(3))), r"`model.7.bias` has shape \(3,\), expected"),
        (write(changed(small_resnet(), model__1__weight=torch.zeros(4))), r"has shape \(4,\), expected a kernel's"),
        (write(changed(small_resnet(), model__1__weight=torch.zeros(4, 3, 3, 3))), r"expected \(4, 3, 7, 7\)"),
        (
            write(changed(small_resnet(), model__1__weight=torch.full((4, 3, 7, 7), torch.nan))),
            "holds NaN or infinity",
        ),
        (write(changed(small_resnet(), model__1__bias=torch.zeros(4, dtype=torch.int64))), "holds torch.int64"),
        (write(changed(small_resnet(), model__99__weight=torch.zeros(4))), "'model.99.weight' would be left over"),
        (write(changed(small_resnet(), model__99__conv_block__1__weight=torch.zeros(4))), "`model.10` to `model.99`"),
    ],
)
def test_refused_as_generator(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "latest_net_G.pth"
    make(path)
    with pytest.raises(ValueError, match=message) as error:
        convert_official_checkpoint([path], tmp_path / "model")
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert {entry.name for entry in tmp_path.iterdir()} <= {"latest_net_G.pth"}


def test_a_generator_is_no_discriminator(tmp_path: Path) -> None:
    path = save(tmp_path / "latest_net_D_A.pth", small_resnet())
    with pytest.raises(ValueError, match=r"is a generator \(ResnetGenerator\), expected a discriminator"):
        load_official_network(path, "discriminator")


@pytest.mark.parametrize(
    ("generators", "discriminators", "settings", "message"),
    [
        ([], [], {}, "expected one generator or two, .* got 0 files"),
        (["G_A", "G_B", "G_A"], [], {}, "expected one generator or two, .* got 3 files"),
        (["G_A", "G_B"], ["D_A"], {}, "one for each generator, got 1 for 2"),
        (["G_B", "G_A"], [], {}, "expected G_A for `generator_a2b`, got latest_net_G_B.pth"),
        (["G_A", "G_B"], ["D_B", "D_A"], {}, "expected D_A for `discriminator_b`, got latest_net_D_B.pth"),
        (["G_A", "G_B"], [], {"direction": "a2b"}, "`direction` is for a single generator"),
        (["G_A"], [], {"direction": "forward"}, "must be 'a2b' or 'b2a', got 'forward'"),
        (["G_A", "G_B"], [], {"domain_a": "x", "domain_b": "x"}, "two different names"),
        (["G_A"], [], {"padding_mode": "replicate"}, "`padding_mode` must be 'reflect' or 'zero'"),
        (["G_A"], [], {"dropout_prob": 2.0}, r"`dropout_prob` must be in \[0, 1\), got 2.0"),
        (
            ["G_A"],
            ["D_B"],
            {"direction": "a2b"},
            "`discriminator_b` has 3 channels in domain b, `generator_a2b` has 1",
        ),
    ],
)
def test_bad_arguments(
    official_files: dict[str, Path],
    tmp_path: Path,
    generators: list[str],
    discriminators: list[str],
    settings: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        convert_official_checkpoint(
            [official_files[name] for name in generators],
            tmp_path / "model",
            discriminators=[official_files[name] for name in discriminators],
            **settings,
        )
    assert not (tmp_path / "model").exists()


def test_generators_must_fit_one_another(tmp_path: Path) -> None:
    forward = save(tmp_path / "latest_net_G_A.pth", small_resnet(in_channels=3, out_channels=1))
    backward = save(tmp_path / "latest_net_G_B.pth", small_resnet(in_channels=3, out_channels=3))
    message = "`generator_b2a` has 3 channels in domain b, `generator_a2b` has 1"
    with pytest.raises(ValueError, match=message):
        convert_official_checkpoint([forward, backward], tmp_path / "model")
    assert not (tmp_path / "model").exists()
