"""Ids of repositories on the Hub."""

import re
from pathlib import Path


_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)


def has_id_form(name: str) -> bool:
    """Return whether a name has the form `user/name`."""
    return _HUB_ID.fullmatch(name) is not None


def is_hub_id(name: str) -> bool:
    """Return whether a name is an id on the Hub: it has the form `user/name`, and no file or folder here has it."""
    return has_id_form(name) and not Path(name).exists()
