"""What settings mean, as the comments of the configuration files say."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from qmcnet.config.naming import config_directory, folder

COMMENTED = re.compile(r"(\w+):[^#]*#\s*(.*)")
"""A key with a comment behind its value."""


def meanings(choices: Mapping[str, str | None]) -> dict[str, str]:
    """Collect the comments of the files that a configuration is composed of.

    Args:
        choices: file of each group, by the group and maybe, behind an @, the key that it has in a configuration.

    Returns:
        Comments by dotted key.
    """
    found = _comments(config_directory() / "config.yaml")
    for group, name in choices.items():
        group, _, key = group.partition("@")
        path = folder(group) / f"{name}.yaml"
        if name and path.exists():
            found |= {f"{key or group}.{own}": text for own, text in _comments(path).items()}
    return found


def _comments(path: Path) -> dict[str, str]:
    """Read the comments of a file, after those of the files of its folder that it builds on."""
    text, found = path.read_text(encoding="utf-8"), dict[str, str]()
    content: Any = yaml.safe_load(text) or {}
    for base in content.get("defaults", []) if path.stem != "config" else []:
        if isinstance(base, str) and base != "_self_" and (path.parent / f"{base}.yaml").exists():
            found |= _comments(path.parent / f"{base}.yaml")
    return found | {match[1]: match[2] for line in text.splitlines() if (match := COMMENTED.match(line))}
