"""The command line, `cyclegan-hf COMMAND ...`. A subcommand is a typed function; its docstring is its `--help`.

Importing this package loads nothing heavy: `--help` and wrong arguments are answered at once, and a subcommand loads
what it needs after its arguments were checked.
"""

import os
import sys
import warnings
from collections.abc import Callable, Sequence

from cyclegan_hf import __version__
from cyclegan_hf.arguments import bind_verb
from cyclegan_hf.cli.convert import convert
from cyclegan_hf.cli.evaluate import evaluate
from cyclegan_hf.cli.export import export
from cyclegan_hf.cli.hub import dataset, info, push, push_space
from cyclegan_hf.cli.train import start_training, train
from cyclegan_hf.cli.translate import translate
from cyclegan_hf.errors import one_line
from cyclegan_hf.processes import wait_passively


DESCRIPTION = (
    "Translate images between two domains with CycleGAN. `cyclegan-hf COMMAND --help` shows the options of a "
    "subcommand, `cyclegan-hf --version` the version."
)
VERBS: dict[str, Callable[..., int]] = {
    "train": train,
    "translate": translate,
    "convert": convert,
    "evaluate": evaluate,
    "export": export,
    "push": push,
    "push-space": push_space,
    "dataset": dataset,
    "info": info,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after the program's name; by default those of this process.

    Returns:
        `int`: the exit code. 0: all went well; 1: some pictures failed; 2: an error, told in one line; 130 or 141:
        interrupted, or whoever read the output has left.
    """
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # its client has two lines for each time that it tries again
    wait_passively()  # before torch loads
    try:
        try:
            words = sys.argv[1:] if arguments is None else arguments
            if words[:1] == ["train"]:  # its flags are the trainer's
                return start_training(words[1:])
            with warnings.catch_warnings():  # a refusal in one line; the filter needs no Pillow, which loads later
                warnings.filterwarnings("error", r"Image size \(\d+ pixels\) exceeds limit")
                return bind_verb(words, VERBS, prog="cyclegan-hf", description=DESCRIPTION, version=__version__)()
        finally:
            sys.stdout.flush()  # here rather than at exit, where a closed pipe could only be reported
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush at exit goes nowhere
        return 141
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
