"""`python -m cyclegan_hf.cli`, for launchers."""

import sys

from cyclegan_hf.cli import main


if __name__ == "__main__":
    sys.exit(main())
