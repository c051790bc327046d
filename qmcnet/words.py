"""How durations are said."""


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
