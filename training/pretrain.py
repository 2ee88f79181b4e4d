"""Pre-train on aligned pairs: `python training/pretrain.py --help` shows the flags."""

from cyclegan_hf.processes import wait_passively


wait_passively()  # before torch loads

from cyclegan_hf.training.pretrain import main  # noqa: E402


if __name__ == "__main__":
    main()
