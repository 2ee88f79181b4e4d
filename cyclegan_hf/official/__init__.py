"""Networks of the official code, pytorch-CycleGAN-and-pix2pix: reading their files and comparing the outputs."""
