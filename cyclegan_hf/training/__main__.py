"""Entry of a training run: `accelerate launch -m cyclegan_hf.training --help` shows its flags.

`training/train.py` of a clone is the same.
"""

import logging
import sys


try:
    from cyclegan_hf.processes import wait_passively

    wait_passively()  # before torch loads

    from accelerate import PartialState
    from tqdm.contrib.logging import logging_redirect_tqdm

    from cyclegan_hf.errors import one_line
    from cyclegan_hf.training.command import parse_command
    from cyclegan_hf.training.distributed import is_main_process, lost_process
    from cyclegan_hf.training.dry_run import dry_run
    from cyclegan_hf.training.interruption import Interrupted, LastingStream, end_with_launcher
    from cyclegan_hf.training.record.hub_push import leave
    from cyclegan_hf.training.stages import train_in_stages
    from cyclegan_hf.training.trainer import Trainer
except ImportError as error:
    from cyclegan_hf.errors import install_command

    sys.exit(f"error: {error}; training needs the extra `train`: {install_command('train')}")


def main() -> None:
    """Parse the command line, train, and turn what a user can mend into one line."""
    end_with_launcher()
    sys.stdout, sys.stderr = LastingStream(sys.stdout), LastingStream(sys.stderr)  # type: ignore[assignment]
    level = logging.INFO if is_main_process() else logging.WARNING  # once is enough
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    for client in ("httpx", "httpx2"):  # the Hub's: a line a request
        logging.getLogger(client).setLevel(logging.WARNING)
    try:
        config, checkpoint = parse_command(sys.argv[1:])
        with logging_redirect_tqdm():  # a line of the log goes above the progress bar, not into it
            if config.run.dry_run:
                report = dry_run(config, checkpoint)
                if is_main_process():
                    print(report)  # noqa: T201
            elif config.stages.epochs:
                train_in_stages(config)
            else:
                Trainer(config, checkpoint).train()
        PartialState().destroy_process_group()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {one_line(error)}")
    except RuntimeError as error:
        if (told := lost_process(error)) is None:
            raise
        sys.exit(f"error: {told}")
    except Interrupted as stop:
        logging.warning("%s", stop)
        leave(stop.exit_code)
    except KeyboardInterrupt:
        leave(130)  # what a shell calls a program that was interrupted


if __name__ == "__main__":
    main()
