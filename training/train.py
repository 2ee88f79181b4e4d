"""Train a CycleGAN: `accelerate launch training/train.py --help` shows the flags."""

from cyclegan_hf.training.__main__ import main


if __name__ == "__main__":
    main()
