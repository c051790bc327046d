"""Bringing results from a device to the host, which waits for the device."""

from collections.abc import Sequence

import torch
from torch import Tensor


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copy tensors to the host, in one transfer from each device and in few operations before it.

    Args:
        tensors: of any shape, dtype and device.

    Returns:
        The tensors on the CPU, real ones in float64 and complex ones in complex128.
    """
    kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, tensor in enumerate(tensors):
        kinds.setdefault((tensor.device, tensor.dtype), []).append(index)
    rows: dict[torch.device, list[Tensor]] = {}
    for (device, dtype), members in kinds.items():
        row = torch.cat([tensors[index].detach().reshape(-1) for index in members])  # one operation for one dtype
        rows.setdefault(device, []).append((torch.view_as_real(row).flatten() if dtype.is_complex else row).double())
    numbers = {device: torch.cat(parts).cpu() for device, parts in rows.items()}
    found: dict[int, Tensor] = {}
    for (device, dtype), members in kinds.items():
        for index in members:
            size = tensors[index].numel() * (2 if dtype.is_complex else 1)
            flat, numbers[device] = numbers[device][:size], numbers[device][size:]
            flat = torch.complex(flat[::2], flat[1::2]) if dtype.is_complex else flat
            found[index] = flat.view(tensors[index].shape)
    return [found[index] for index in range(len(tensors))]
