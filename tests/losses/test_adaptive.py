"""Dynamic Weight Average."""

import io
import math

import pytest
import torch

from cyclegan_hf.losses.adaptive import DynamicWeightAverage


def epoch(adaptive: DynamicWeightAverage, *steps: dict[str, float]) -> None:
    for losses in steps:
        adaptive.record({name: torch.tensor(loss) for name, loss in losses.items()})
    adaptive.update()


def test_the_weights_of_the_third_epoch() -> None:
    adaptive = DynamicWeightAverage(["cycle", "edge"])
    assert adaptive.weights == {"cycle": 1, "edge": 1}
    epoch(adaptive, {"cycle": 1.5, "edge": 0.2}, {"cycle": 2.5, "edge": 0.6})  # means 2 and 0.4
    assert adaptive.weights == {"cycle": 1, "edge": 1}
    epoch(adaptive, {"cycle": 1.0, "edge": 0.4})
    # Ratios 1 / 2 = 0.5 and 0.4 / 0.4 = 1; with T = 2 the weights are 2·exp(0.25) / (exp(0.25) + exp(0.5)) =
    # 2 / (1 + exp(0.25)) and 2 / (1 + exp(-0.25)): the loss that does not fall gets more.
    assert adaptive.weights["cycle"] == pytest.approx(2 / (1 + math.exp(0.25)), rel=1e-6)  # 0.8756
    assert adaptive.weights["edge"] == pytest.approx(2 / (1 + math.exp(-0.25)), rel=1e-6)  # 1.1244


def test_only_the_last_two_epochs_count() -> None:
    adaptive, fresh = DynamicWeightAverage(["a", "b"]), DynamicWeightAverage(["a", "b"])
    epoch(adaptive, {"a": 9.0, "b": 0.1})
    for one in (adaptive, fresh):
        epoch(one, {"a": 4.0, "b": 1.0})
        epoch(one, {"a": 1.0, "b": 1.0})
    assert adaptive.weights == fresh.weights
    assert adaptive.weights["a"] == pytest.approx(2 / (1 + math.exp(0.375)))  # ratios 0.25 and 1


def test_a_losss_scale_does_not_matter() -> None:
    adaptive = DynamicWeightAverage(["gan", "cycle", "color"])
    epoch(adaptive, {"gan": 0.5, "cycle": 100.0, "color": 1e-4})
    epoch(adaptive, {"gan": 0.25, "cycle": 50.0, "color": 5e-5})
    assert list(adaptive.weights.values()) == pytest.approx([1, 1, 1])


def test_the_temperature_evens_out() -> None:
    spreads = []
    for temperature in (0.5, 2.0, 100.0):
        adaptive = DynamicWeightAverage(["a", "b"], temperature)
        epoch(adaptive, {"a": 1.0, "b": 1.0})
        epoch(adaptive, {"a": 0.5, "b": 1.0})
        spreads.append(adaptive.weights["b"] - adaptive.weights["a"])
    assert spreads == pytest.approx([2 * math.tanh(0.25 / t) for t in (0.5, 2.0, 100.0)], rel=1e-5)


@pytest.mark.parametrize("after", [0.0, 1e-9, 1.0, 1e6])
def test_weights_stay_within_bounds_and_add_up(after: float) -> None:
    adaptive = DynamicWeightAverage(["a", "b", "c"])
    epoch(adaptive, {"a": 1e-3, "b": 0.5, "c": 0.0})
    epoch(adaptive, {"a": after, "b": 0.5, "c": 2.0})  # a ratio of 1e9 must not overflow; `c` was not there before
    assert sum(adaptive.weights.values()) == pytest.approx(3)
    assert all(0 <= weight <= 3 for weight in adaptive.weights.values())
    assert adaptive.weights["c"] == adaptive.weights["b"]  # counted as a ratio of 1


def test_other_losses_are_not_looked_at_and_gradients_not_kept() -> None:
    adaptive = DynamicWeightAverage(["cycle"])
    loss = torch.tensor(1.0, requires_grad=True)
    adaptive.record({"cycle": loss * 2, "gan": torch.tensor(-3.0)})
    assert not adaptive.state_dict()["mean"].requires_grad
    adaptive.update()
    assert adaptive.weights == {"cycle": 1}


@pytest.mark.parametrize("stop", range(1, 6))
def test_a_resumed_run_goes_on_exactly(stop: int) -> None:
    losses = torch.rand(6, 2).tolist()

    def run(adaptive: DynamicWeightAverage, first: int, last: int) -> None:
        for step in range(first, last):
            adaptive.record(dict(zip("ab", torch.tensor(losses[step]), strict=True)))
            if step % 2 == 1:  # two steps an epoch: some stops are in the middle of one
                adaptive.update()

    whole, before, after = (DynamicWeightAverage(["a", "b"]) for _ in range(3))
    run(whole, 0, 6)
    run(before, 0, stop)
    file = io.BytesIO()
    torch.save(before.state_dict(), file)
    file.seek(0)
    after.load_state_dict(torch.load(file, weights_only=True))
    assert after.weights == before.weights
    run(after, stop, 6)
    assert after.weights == whole.weights
    assert after.weights["a"] != 1


def test_a_saved_state_does_not_change_afterwards() -> None:
    adaptive = DynamicWeightAverage(["a"])
    adaptive.record({"a": torch.tensor(1.0)})
    state = adaptive.state_dict()
    adaptive.record({"a": torch.tensor(3.0)})
    assert (state["mean"].item(), state["count"]) == (1.0, 1)


def test_several_processes_agree() -> None:
    # Two processes: means 1 and 3 of `a` in the first epoch, averaged to 2; then 1 and 1.
    one, other = DynamicWeightAverage(["a", "b"]), DynamicWeightAverage(["a", "b"])
    for first, second in ((1.0, 3.0), (1.0, 1.0)):
        one.record({"a": torch.tensor(first), "b": torch.tensor(1.0)})
        other.record({"a": torch.tensor(second), "b": torch.tensor(1.0)})
        average = torch.tensor([(first + second) / 2, 1.0])
        one.update(lambda means, average=average: average)
        other.update(lambda means, average=average: average)
    assert one.weights == other.weights
    assert one.weights["a"] == pytest.approx(2 / (1 + math.exp(0.25)))


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_bad_names_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="one or more different names"):
        DynamicWeightAverage(names)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="`temperature` must be positive, got 0"):
        DynamicWeightAverage(["a"], 0)
    adaptive = DynamicWeightAverage(["a", "b"])
    with pytest.raises(ValueError, match=r"\['a', 'b'\] are expected, \['b'\] missing"):
        adaptive.record({"a": torch.tensor(1.0)})
    with pytest.raises(ValueError, match="at least one `record`, got none"):
        adaptive.update()
    with pytest.raises(ValueError, match=r"Weights of \['a', 'b'\] cannot go on from those of \['a'\]"):
        adaptive.load_state_dict(DynamicWeightAverage(["a"]).state_dict())
    for wrong in (-0.5, math.nan, math.inf):
        adaptive = DynamicWeightAverage(["a", "b"])
        with pytest.raises(ValueError, match=rf"never negative can be weighted; `b` has the mean {wrong}"):
            epoch(adaptive, {"a": 1.0, "b": wrong})
