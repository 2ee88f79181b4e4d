"""What a device is good at."""

from __future__ import annotations

import torch


def fast_dtype(device: torch.device) -> torch.dtype | None:
    """The reduced precision that a device computes in, `None` where there is none to gain from.

    bfloat16 has float32's range: sums of squares in instance norm cannot overflow as in float16.
    """
    match device.type:
        case "cuda" if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
        case "cpu" if torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported():
            return torch.bfloat16
    return None
