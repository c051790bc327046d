"""How durations and numbers with errors are said."""

import math


def duration(seconds: float) -> str:
    """Say how long something takes.

    Args:
        seconds: its duration.

    Returns:
        A number with a unit.
    """
    if seconds > 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds > 90 else f"{seconds:.0f} s"


def in_mha(value: float, error: float) -> str:
    """Write a number with its error in the last digit.

    Args:
        value: in hartree.
        error: its standard error, in hartree, positive.

    Returns:
        Text such as '9(3) mHa' or '0.52(8) mHa'.
    """
    digits = max(0, -math.floor(math.log10(1e3 * error)))
    return f"{1e3 * value:.{digits}f}({round(1e3 * error * 10**digits)}) mHa"
