"""How requests share the device and the memory."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.chromium import PATIENCE
from tests.space.modules import page_module
from tests.space.test_models import save
from tests.testing_utils import noise


def served(turns: Any, tickets: list[Any]) -> list[Any]:
    """The order in which tickets that all wait get one turn each."""
    order = []
    for ticket in tickets:
        turns.join(ticket)
    while tickets:
        ticket = next(each for each in tickets if turns.take(each, 0))
        turns.leave(ticket)
        turns.give_back()
        order.append(ticket)
        tickets = [each for each in tickets if each is not ticket]
    return order


def test_short_requests_go_first_and_long_ones_still_get_their_turn() -> None:
    module = page_module("turns")
    long, *short = [module.Ticket(long=index == 0) for index in range(6)]
    assert served(module.Turns(), [long, *short]) == [*short[:3], long, *short[3:]]


def test_long_requests_take_turns() -> None:
    module = page_module("turns")
    turns, tickets, order = module.Turns(), [module.Ticket(long=True) for _ in range(2)], []
    for _ in range(4):
        for ticket in tickets:
            turns.join(ticket)
        taken = next(index for index, ticket in enumerate(tickets) if turns.take(ticket, 0))
        turns.give_back()
        for ticket in tickets:
            turns.leave(ticket)
        order.append(taken)
    assert order == [0, 1, 0, 1]


def test_memory_is_never_promised_twice_and_a_giant_waits_until_it_is_alone() -> None:
    budget, most, lock = page_module("turns").MemoryBudget(100), 0, threading.Lock()
    held = 0

    def request(amount: int) -> None:
        nonlocal held, most
        with budget.reserved(amount) as wait:
            while not wait(0.05):
                pass
            with lock:
                held += min(amount, 100)
                most = max(most, held)
            time.sleep(0.01)
            with lock:
                held -= min(amount, 100)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(request, [30, 500, 40, 60, 99, 1, 100, 30] * 3, timeout=PATIENCE))
    assert most == 100 and held == 0


def test_who_gives_up_waiting_holds_nothing() -> None:
    budget = page_module("turns").MemoryBudget(100)
    with budget.reserved(80) as first:
        assert first(0)
        with budget.reserved(80) as second:
            assert not second(0)
        with budget.reserved(20) as third:
            assert third(0)
    with budget.reserved(100) as fourth:
        assert fourth(0)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model that takes photos of more than 160 x 160 pixels in pieces."""
    module = page_module("shelf")
    shelf = module.Shelf([str(save(tmp_path / "one", norm_type="none"))], budget=10**9)
    for name in ("WHOLE_BYTES", "PIECE_BYTES"):
        monkeypatch.setattr(module, name, 160**2 * shelf.first.bytes_per_pixel)
    return shelf


def test_a_small_photo_overtakes_a_large_one(shelf: Any) -> None:
    large = shelf.steps(shelf.first, Image.fromarray(noise(700, 700)), "a2b")
    assert next(step for step in large if step.done == 1).total > 10
    ((result,),) = shelf.translate(shelf.first, [Image.fromarray(noise(64, 64))], "a2b")
    assert result.size == (64, 64)
    *_, last = large
    assert last.results[0].size == (700, 700)


def test_a_visitor_who_leaves_frees_the_device(shelf: Any) -> None:
    large = shelf.steps(shelf.first, Image.fromarray(noise(400, 400)), "a2b")
    next(step for step in large if step.done == 1)
    large.close()
    assert shelf._turns._waiting == [] and not shelf._turns._busy
    shelf.translate(shelf.first, [Image.fromarray(noise(64, 64))], "a2b")


def test_a_photo_tells_how_far_it_is_also_on_its_way_back(shelf: Any) -> None:
    steps = list(shelf.steps(shelf.first, Image.fromarray(noise(300, 300)), "a2b", cycle=True))
    shares = [step.done / step.total for step in steps]
    assert shares == sorted(shares) and len(set(shares)) > 5 and shares[-1] == 1
    assert [picture.size for picture in steps[-1].results] == [(300, 300)] * 2
