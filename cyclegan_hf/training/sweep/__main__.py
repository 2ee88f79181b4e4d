"""Entry of a sweep: `python -m cyclegan_hf.training.sweep --help` shows its flags."""

import sys


try:
    from cyclegan_hf.processes import wait_passively

    wait_passively()  # before torch loads

    from cyclegan_hf.training.sweep.trials import main
except ImportError as error:
    from cyclegan_hf.errors import install_command

    sys.exit(f"error: {error}; a sweep needs two extras: {install_command('train', 'search')}")


if __name__ == "__main__":
    main()
