"""Train a discriminator alone to tell the two real domains apart: the control of a translation's score.

python training/domain_control.py --recipe human2anime_unet --data.a A --data.b B --max-train-steps 2000
"""

from cyclegan_hf.processes import wait_passively


wait_passively()  # before torch loads

from cyclegan_hf.training.domain_control import main  # noqa: E402


if __name__ == "__main__":
    main()
