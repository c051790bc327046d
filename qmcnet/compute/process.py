"""Settings of the whole process that a run wants."""

import ctypes
import sys

import torch

from qmcnet.compute.kernels import use_library

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1


def prepare_process() -> None:
    """Ask for full float32 products, the library for this processor and cuSOLVER, and keep freed memory at hand.

    Where torch chooses by itself it takes MAGMA for some sizes, which waits for the device at every determinant.

    The C library gives the memory of large freed tensors back to the system and asks for it again at the next
    operation; the page faults cost a tenth of the time of a local energy. Only glibc can be told otherwise.
    """
    torch.set_float32_matmul_precision("highest")
    use_library(None)  # a run that is continued says which when it is loaded
    if torch.cuda.is_available():
        torch.backends.cuda.preferred_linalg_library("cusolver")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _LARGEST)
