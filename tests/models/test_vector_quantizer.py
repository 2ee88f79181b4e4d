import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch._functorch.config

from cyclegan_hf.models.vector_quantizer import VectorQuantizer
from cyclegan_hf.training.ema import EmaModel


ROOT = Path(__file__).resolve().parents[2]


def with_codes(codes: list[list[float]], **settings: float) -> VectorQuantizer:
    """A quantiser whose codes have all been used by the last batch: none is due."""
    quantizer = VectorQuantizer(len(codes), len(codes[0]), **settings)
    quantizer.codebook.data = torch.tensor(codes)
    quantizer.idle.zero_()
    return quantizer


def features(vectors: list[list[float]]) -> torch.Tensor:
    """One picture of shape (1, C, 1, N)."""
    return torch.tensor(vectors).T[None, :, None, :]


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("training", [True, False])
def test_by_hand(training: bool) -> None:
    quantizer = with_codes([[0.0, 0.0], [3.0, 4.0], [9.0, 9.0]]).train(training)
    # (1, 1) is nearest to code 0, (3, 3) to code 1. Squared differences 1, 1, 0, 1: mean 3/4, and a quarter of that.
    # Both codes have half of the positions: an entropy of ln 2, a perplexity of 2.
    result = quantizer(features([[1.0, 1.0], [3.0, 3.0]]))
    assert torch.equal(result.hidden, features([[0.0, 0.0], [3.0, 4.0]]))
    assert result.loss.item() == pytest.approx(0.75 * 1.25)
    assert result.perplexity.item() == pytest.approx(2.0)
    assert quantizer.idle.tolist() == ([0, 0, 1] if training else [0, 0, 0])


def test_nearest_of_all() -> None:
    torch.manual_seed(0)
    quantizer, hidden = VectorQuantizer(32, 6).eval(), noise(0, 3, 6, 5, 7)
    torch.nn.init.normal_(quantizer.codebook)
    vectors = hidden.permute(0, 2, 3, 1)
    distances = (vectors[..., None, :] - quantizer.codebook).norm(dim=-1)  # (B, H, W, K)
    expected = quantizer.codebook[distances.argmin(dim=-1)].permute(0, 3, 1, 2)
    torch.testing.assert_close(quantizer(hidden).hidden, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_by_hand(training: bool) -> None:
    quantizer = with_codes([[0.0, 0.0], [3.0, 4.0]], commitment_cost=0.5).train(training)
    hidden = features([[1.0, 1.0], [3.0, 3.0]]).requires_grad_()
    weights = features([[5.0, 6.0], [7.0, 8.0]])
    result = quantizer(hidden)
    (straight, codes) = torch.autograd.grad(
        (result.hidden * weights).sum(), (hidden, quantizer.codebook), retain_graph=True, allow_unused=True
    )
    assert torch.equal(straight, weights)  # straight through, past the codes
    assert codes is None
    committed, learnt = torch.autograd.grad(result.loss, (hidden, quantizer.codebook))
    # Of a mean over four squares, with vector minus code (1, 1) and (0, -1): 2/4 of the difference, signs opposite.
    torch.testing.assert_close(learnt, torch.tensor([[-0.5, -0.5], [0.0, 0.5]]))
    torch.testing.assert_close(committed, 0.5 * features([[0.5, 0.5], [0.0, -0.5]]))


@pytest.mark.parametrize(("used", "perplexity"), [(1, 1.0), (2, 2.0), (8, 8.0)])
def test_perplexity_counts_codes_that_are_used_alike(used: int, perplexity: float) -> None:
    quantizer = with_codes([[float(i)] for i in range(8)]).eval()
    assert quantizer(features([[float(i % used)] for i in range(16)])).perplexity.item() == pytest.approx(perplexity)


def test_the_first_batch_places_all_codes() -> None:
    torch.manual_seed(0)
    quantizer, hidden = VectorQuantizer(10, 4), noise(1, 1, 4, 6, 6)
    usage = quantizer(hidden).usage
    vectors = {tuple(vector) for vector in hidden.permute(0, 2, 3, 1).reshape(-1, 4).tolist()}
    assert all(tuple(code) in vectors for code in quantizer.codebook.tolist())
    assert usage == (quantizer.idle == 0).float().mean() > 0.5


def test_a_dead_code_moves_when_its_time_has_come() -> None:
    quantizer = with_codes([[0.0], [1.0], [50.0]], revival_patience=3)
    batch = features([[0.1], [0.9]])  # codes 0 and 1; nobody chooses 50
    history = []
    for _ in range(4):
        usage = quantizer(batch).usage.item()
        history.append((quantizer.codebook[2].item(), quantizer.idle[2].item(), round(3 * usage)))
    # Dead after three batches without use; the fourth moves it to one of its vectors, where it is the nearest.
    assert history[:3] == [(50.0, 1, 3), (50.0, 2, 3), (50.0, 3, 2)]
    position, idle, alive = history[3]
    assert position in batch.flatten().tolist()
    assert (idle, alive) == (0, 3)
    assert quantizer.codebook[:2].tolist() == [[0.0], [1.0]]


def test_a_code_that_stays_dead_is_moved_again_and_counts_as_dead() -> None:
    quantizer = with_codes([[0.0], [0.0]], revival_patience=2)  # of two equal codes, the first is taken
    for number in range(1, 9):
        usage = quantizer(features([[0.0]])).usage.item()
        assert quantizer.idle[1] == number
        assert usage == (1.0 if number < 2 else 0.5)


def test_evaluation_draws_and_counts_nothing() -> None:
    quantizer = VectorQuantizer(8, 4).eval()
    before, random = {name: t.clone() for name, t in quantizer.state_dict().items()}, torch.get_rng_state()
    results = [quantizer(noise(2, 2, 4, 3, 3)) for _ in range(2)]
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in quantizer.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def train(quantizer: VectorQuantizer, batches: range) -> None:
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.5)
    for seed in batches:
        optimizer.zero_grad()
        quantizer(noise(seed, 1, 4, 3, 3)).loss.backward()
        optimizer.step()


def test_a_resumed_run_draws_what_an_unbroken_one_draws() -> None:
    torch.manual_seed(0)
    unbroken = VectorQuantizer(32, 4, revival_patience=4)
    train(unbroken, range(6))
    state, random = {name: t.clone() for name, t in unbroken.state_dict().items()}, torch.get_rng_state()
    place = unbroken.codebook.clone()
    train(unbroken, range(6, 14))
    resumed = VectorQuantizer(32, 4, revival_patience=4)
    resumed.load_state_dict(state)
    torch.set_rng_state(random)
    train(resumed, range(6, 14))
    assert torch.equal(resumed.codebook, unbroken.codebook)
    assert torch.equal(resumed.idle, unbroken.idle)
    assert (unbroken.codebook - place).norm(dim=1).max() > 0.5  # not vacuous: codes moved


def test_autocast_changes_nothing() -> None:
    quantizer, hidden = VectorQuantizer(512, 64), noise(3, 1, 64, 16, 16)
    quantizer(noise(6, 2, 64, 16, 16))  # places the codes, far from `hidden`: in bf16, other ones would be the nearest
    quantizer.eval()
    plain = quantizer(hidden)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = quantizer(hidden)
        half = quantizer(hidden.bfloat16())
    assert all(torch.equal(first, second) for first, second in zip(plain, mixed, strict=True))
    assert (half.hidden.dtype, half.loss.dtype, half.perplexity.dtype) == (torch.bfloat16, *[torch.float32] * 2)


def test_one_position_is_enough() -> None:
    result = VectorQuantizer(5, 3)(torch.ones(1, 3, 1, 1))
    assert (result.hidden == 1).all()
    assert (result.loss.item(), result.perplexity.item(), round(5 * result.usage.item())) == (0.0, 1.0, 1)


def test_casting_keeps_the_counts_and_averaging_copies_them() -> None:
    quantizer = VectorQuantizer(4, 2)
    average = EmaModel(quantizer, 0.9)
    quantizer.idle.copy_(torch.tensor([0, 1, 257, 100_001]))
    average.update_parameters(quantizer)
    average.update_parameters(quantizer)
    for module in (average.module, quantizer.to(torch.bfloat16)):
        assert module.idle.tolist() == [0, 1, 257, 100_001]


def test_compiled_training_is_the_same() -> None:
    # Two batches before one backward, and codes move in between: what the first one saved must not change.
    def run(call: Callable[[VectorQuantizer], Callable]) -> list[torch.Tensor]:
        torch.manual_seed(0)
        quantizer = VectorQuantizer(4, 4, revival_patience=1)
        forward, hidden = call(quantizer), noise(4, 2, 4, 12, 12).requires_grad_()
        first, second = forward(hidden), forward(hidden + 1)
        (first.loss + second.loss + (first.hidden * second.hidden).sum()).backward()
        return [quantizer.codebook.detach(), quantizer.codebook.grad, hidden.grad, quantizer.idle]

    torch.compiler.reset()
    eager = run(lambda quantizer: quantizer)
    # Without a memory budget, backward computes all again from what came in: the codebook too.
    with torch._functorch.config.patch(activation_memory_budget=0.0):
        compiled = run(lambda quantizer: torch.compile(quantizer, backend="aot_eager_decomp_partition"))
    for ours, theirs in zip(compiled, eager, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


WORKER = """
import sys, torch
from cyclegan_hf.models.vector_quantizer import VectorQuantizer
rank, place = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{place}/store", rank=rank, world_size=2)
torch.manual_seed(0)
quantizer = VectorQuantizer(6, 2, revival_patience=2)
torch.manual_seed(rank)
hidden = torch.randn(1, 2, 1, 3) + 10 * rank  # the processes have nothing in common
for _ in range(3):
    quantizer(hidden)
vectors = hidden[0, :, 0].T
torch.save({"codebook": quantizer.codebook, "idle": quantizer.idle, "vectors": vectors}, f"{place}/{rank}.pt")
"""


def test_two_processes_keep_one_codebook(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER]
    workers = [subprocess.Popen([*command, str(rank), str(tmp_path)], cwd=ROOT) for rank in (0, 1)]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(first["codebook"], second["codebook"])
    assert torch.equal(first["idle"], second["idle"])
    drawn = {tuple(vector) for vector in first["vectors"].tolist()}  # process 0's
    assert all(tuple(code) in drawn for code in first["codebook"].tolist())
    # Used by either process is used: process 1 has its nearest code there too.
    assert (first["idle"] == 0).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_codes": 0}, "`num_codes` must be at least 1, got 0"),
        ({"channels": -1}, "`channels` must be at least 1, got -1"),
        ({"revival_patience": 0}, "`revival_patience` must be at least 1, got 0"),
        ({"commitment_cost": -0.25}, "`commitment_cost` must be at least 0, got -0.25"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VectorQuantizer(**{"num_codes": 4, "channels": 2, **settings})
