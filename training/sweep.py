"""Search over settings of a recipe: `python training/sweep.py --help` shows the flags."""

from cyclegan_hf.training.sweep.__main__ import main


if __name__ == "__main__":
    main()
