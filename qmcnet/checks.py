"""Four checks of settings, which name the setting, its value and what is allowed; one that is None is left open."""

import math
from collections.abc import Iterable


def at_least(low: float, **values: float | None) -> None:
    """Refuse settings below a bound, and those that are no number.

    Args:
        low: smallest allowed value.
        **values: settings by name.

    Raises:
        ValueError: naming the first that is too small.
    """
    for name, value in values.items():
        if value is not None and not low <= value:
            raise ValueError(f"{name}={value} must be at least {low}")


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
    """Refuse settings outside of a range.

    Args:
        low: smallest allowed value.
        high: what they have to stay below.
        **values: settings by name.

    Raises:
        ValueError: naming the first out of range.
    """
    for name, value in values.items():
        if value is not None and not low <= value < high:
            raise ValueError(f"{name}={value} must be at least {low} and less than {high}")


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
