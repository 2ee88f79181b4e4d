"""A time limit on every request to the Hub: its client has none, and waits for good where a server never answers."""

from __future__ import annotations

import math
import os
from typing import Any

from huggingface_hub import get_session


VARIABLE = "CYCLEGAN_HUB_TIMEOUT"
ANSWER_SECONDS = 60.0  # a commit of many files takes the Hub some seconds; behind its own gateway it has 60
CONNECT_SECONDS = 10.0


def limit_requests() -> None:
    """Give requests of the Hub's shared client that have no time limit one; call it before each use of the client.

    The limit is for each wait on the network, not for a whole upload. `CYCLEGAN_HUB_TIMEOUT` sets it, in seconds.
    """
    client = get_session()
    hooks = client.event_hooks
    if _limit not in hooks["request"]:
        client.event_hooks = {**hooks, "request": [*hooks["request"], _limit]}


def answer_seconds() -> float:
    """Return how long an answer may take.

    Raises:
        ValueError: `CYCLEGAN_HUB_TIMEOUT` is no positive number.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text) if text else ANSWER_SECONDS
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"{VARIABLE} must be a positive number of seconds, got {text!r}")
    return seconds


def _limit(request: Any) -> None:
    seconds = answer_seconds()
    limits = {"connect": min(seconds, CONNECT_SECONDS), "read": seconds, "write": seconds, "pool": seconds}
    given = request.extensions.get("timeout", {})
    request.extensions["timeout"] = limits | {key: value for key, value in given.items() if value is not None}
