"""Loading torch and diffusers for a command."""

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def many_imports() -> Iterator[None]:
    """Import without garbage collection.

    torch and diffusers make a million objects that all stay. Looking through them again and again while they load, and
    once more at exit, takes a third of the time.
    """
    if "torch" in sys.modules:  # loaded by whoever called `main`
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
