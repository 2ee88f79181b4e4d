"""Name the Python objects of a pickle without loading it."""

import itertools
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


_MAX_OPCODES = 1_000_000  # of a file; a state dict has some hundred
_OF_STATE_DICTS = re.compile(  # what a dictionary of tensors names too
    r"torch\._utils\.\w+|torch\.(?:storage\.)?\w+|collections\.OrderedDict|_codecs\.encode|(?:__builtin__|builtins)\.set"
)


def pickled_objects(path: Path) -> list[str]:
    """Return what a pickled file would import, such as `posix.system`, beyond what tensors and dictionaries need.

    Args:
        path: A pickle, or a file of `torch.save`, zipped or not.

    Returns:
        Dotted names, in the file's order and each once; none where the file is no pickle.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
                if name is None:
                    return []
                with archive.open(name) as file:
                    found = list(_imports(file))
        else:
            with path.open("rb") as file:
                found = list(_imports(file))
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return []
    return [name for name in dict.fromkeys(found) if not _OF_STATE_DICTS.fullmatch(name)]


def _imports(file: IO[bytes]) -> Iterator[str]:
    """Yield the imports of the pickles that follow one another in a file, up to the first bytes that are none."""
    strings: list[str] = []  # the last two are the operands of STACK_GLOBAL
    memo: dict[int, str] = {}
    left = _MAX_OPCODES
    while left > 0:
        try:
            for opcode, operand, _ in itertools.islice(pickletools.genops(file), left):
                left -= 1
                argument: Any = operand
                match opcode.name:
                    case "GLOBAL" | "INST":
                        yield str(argument).replace(" ", ".")
                    case "STACK_GLOBAL" if len(strings) > 1:
                        yield ".".join(strings[-2:])
                    case "PUT" | "BINPUT" | "LONG_BINPUT" if strings:
                        memo[int(argument)] = strings[-1]
                    case "MEMOIZE":
                        memo[len(memo)] = strings[-1] if strings else ""
                    case "GET" | "BINGET" | "LONG_BINGET" if int(argument) in memo:
                        strings.append(memo[int(argument)])
                    case _ if isinstance(argument, str) and "UNICODE" in opcode.name:
                        strings.append(argument)
                del strings[:-2]
        except Exception:  # not a pickle, or no longer one: raw tensors follow
            return
