"""The keys that somebody may have meant."""

import difflib
from collections.abc import Iterable

SYNONYMS = {
    "lr": "learning_rate",
    "multiplicity": "spin",
    "epochs": "steps",
    "iterations": "steps",
    "n_steps": "steps",
    "walkers": "batch_size",
    "n_walkers": "batch_size",
    "nwalkers": "batch_size",
    "gpu": "device",
    "precision": "dtype",
    "network": "ansatz",
    "geometry": "path",
    "file": "path",
    "distance": "bond_length",
    "r": "bond_length",
}
"""What other programs call our keys."""

FIRST = ("system", "optimizer", "pretraining")
"""Groups that are meant most often when a key is in several."""


def nearest(key: str, known: Iterable[str]) -> list[str]:
    """Find the keys that somebody may have meant.

    Args:
        key: what was typed, dotted or not.
        known: dotted keys.

    Returns:
        At most three, the most likely one first.
    """
    visible = sorted({name for name in known if not name.rpartition(".")[2].startswith("_")}, key=_order)
    group, _, typed = key.lower().replace("-", "_").rpartition(".")
    last = SYNONYMS.get(typed, typed)
    if ends := [name for name in visible if f".{name}".endswith(f".{last}")]:
        return sorted(
            ends, key=lambda name: -difflib.SequenceMatcher(None, name, f"{group}.{last}").ratio() * bool(group)
        )[:3]
    whole = difflib.get_close_matches(f"{group}.{last}".lstrip("."), visible, 3, 0.75)
    parts = {name.rpartition(".")[2]: name for name in reversed(visible)}
    close = [*difflib.get_close_matches(last, parts, 3, 0.75), *(part for part in parts if part.startswith(last))]
    return list(dict.fromkeys([*whole, *(parts[part] for part in close)]))[:3]


def _order(name: str) -> tuple[int, bool, str]:
    return name.count("."), name.partition(".")[0] not in FIRST, name


def ask(found: Iterable[str]) -> str:
    """Ask whether one of some keys is meant.

    Args:
        found: the keys.

    Returns:
        A question in brackets with a blank before it, or nothing where there is none.
    """
    choice = " or ".join(found)
    return f" (did you mean {choice}?)" if choice else ""
