"""The pool of past translations."""

import random

import pytest
import torch

from cyclegan_hf.training.image_pool import ImagePool


def numbered(*numbers: float) -> torch.Tensor:
    """A batch of pictures, each filled with its number."""
    return torch.tensor(numbers)[:, None, None, None].expand(-1, 3, 2, 2).clone()


def test_size_zero_returns_what_comes() -> None:
    pool = ImagePool(0)
    batch = numbered(1, 2)
    assert torch.equal(pool.query(batch), batch)
    assert pool.images == []


def test_until_it_is_full_it_stores_and_returns_what_comes() -> None:
    pool = ImagePool(3)
    assert torch.equal(pool.query(numbered(1, 2)), numbered(1, 2))
    assert torch.equal(pool.query(numbered(3)), numbered(3))
    assert [image[0, 0, 0].item() for image in pool.images] == [1, 2, 3]


def test_the_full_pool_follows_the_official_rule_picture_by_picture() -> None:
    pool, rule = ImagePool(4, seed=7), random.Random(7)
    pool.query(numbered(0, 1, 2, 3))
    stored = [0.0, 1, 2, 3]
    for first in range(4, 204, 2):
        expected = []
        for number in (first, first + 1):
            if rule.uniform(0, 1) > 0.5:
                slot = rule.randint(0, 3)
                expected.append(stored[slot])
                stored[slot] = number
            else:
                expected.append(number)
        assert torch.equal(pool.query(numbered(first, first + 1)), numbered(*expected))
        assert [image[0, 0, 0].item() for image in pool.images] == stored


def test_a_full_pool_that_always_shows_past_pictures() -> None:
    pool, rule = ImagePool(4, seed=7, always_past=True), random.Random(7)
    assert torch.equal(pool.query(numbered(0, 1, 2, 3)), numbered(0, 1, 2, 3))
    stored = [0.0, 1, 2, 3]
    for number in range(4, 100):
        slot = rule.randrange(4)
        assert torch.equal(pool.query(numbered(number)), numbered(stored[slot]))
        stored[slot] = number


def test_half_of_the_answers_are_past_pictures_evenly_from_all_slots() -> None:
    size, queries = 10, 8000
    pool = ImagePool(size, seed=0)
    pool.query(numbered(*range(-size, 0)))
    ages = []
    for number in range(queries):
        answer = int(pool.query(numbered(number))[0, 0, 0, 0])
        ages.append(number - answer)
    past = [age for age in ages if age > 0]
    assert len(past) / queries == pytest.approx(0.5, abs=0.02)  # 3.6 standard deviations of 0.0056
    # A stored picture leaves with probability 1/2 * 1/10 a query: its age is geometric, 20 on average.
    late = past[len(past) // 10 :]
    assert sum(late) / len(late) == pytest.approx(20, rel=0.06)


def test_stored_pictures_carry_no_gradient_and_are_no_views() -> None:
    pool = ImagePool(2)
    batch = numbered(1.0, 2.0).requires_grad_() * 1
    assert not pool.query(batch).requires_grad
    with torch.no_grad():
        batch.zero_()
    assert [image[0, 0, 0].item() for image in pool.images] == [1, 2]


def test_an_answer_is_not_changed_by_later_pictures() -> None:
    pool = ImagePool(1, seed=0)
    answers = [(pool.query(numbered(number)), number) for number in range(20)]
    values = [answer[0, 0, 0, 0].item() for answer, _ in answers]
    again = ImagePool(1, seed=0)
    assert values == [again.query(numbered(number))[0, 0, 0, 0].item() for number in range(20)]
    assert all(torch.equal(answer, numbered(value)) for (answer, _), value in zip(answers, values, strict=True))


def test_a_restored_pool_goes_on_as_the_first_one(tmp_path) -> None:
    pool = ImagePool(3, seed=5)
    for number in range(10):
        pool.query(numbered(number))
    torch.save(pool.state_dict(), tmp_path / "pool.pt")
    restored = ImagePool(3, seed=99)
    restored.load_state_dict(torch.load(tmp_path / "pool.pt", weights_only=True))
    for number in range(10, 30):
        assert torch.equal(pool.query(numbered(number)), restored.query(numbered(number)))
