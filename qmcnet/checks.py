"""Four checks of settings, which name the setting, its value and what is allowed; one that is None is left open."""

import math
from collections.abc import Iterable


def at_least(low: float, below: float | None = None, **values: float | None) -> None:
    """Refuse settings below a bound, and those that are no number.

    Args:
        low: smallest allowed value.
        below: what they have to stay below; None for no such limit.
        **values: settings by name.

    Raises:
        ValueError: naming the first out of range.
    """
    limit = "" if below is None else f" and less than {below}"
    for name, value in values.items():
        if value is not None and not (low <= value and (below is None or value < below)):
            raise ValueError(f"{name}={value} must be at least {low}{limit}")


def positive(**values: float | None) -> None:
    """Refuse settings that are not positive and finite.

    Args:
        **values: settings by name.

    Raises:
        ValueError: naming the first out of range.
    """
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name}={value} must be positive")


def between(low: float, high: float, **values: float | None) -> None:
    """Refuse settings outside of a range, whose ends are allowed.

    Args:
        low: smallest allowed value.
        high: largest allowed value.
        **values: settings by name.

    Raises:
        ValueError: naming the first out of range.
    """
    for name, value in values.items():
        if value is not None and not low <= value <= high:
            raise ValueError(f"{name}={value} must be between {low} and {high}")


def one_of(choices: Iterable[str], **values: str | None) -> None:
    """Refuse settings that are none of the allowed words.

    Args:
        choices: the allowed words.
        **values: settings by name.

    Raises:
        ValueError: naming the first that is none of them.
    """
    known = list(choices)
    for name, value in values.items():
        if value is not None and value not in known:
            raise ValueError(f"{name}={value!r} must be one of {', '.join(known)}")
