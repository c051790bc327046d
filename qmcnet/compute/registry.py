"""Members of a room by name; the files of the room are the list, so that a new one is known without an edit."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

Maker = TypeVar("Maker", bound=Callable[..., Any])


class Registry(Mapping[str, Callable[..., Any]]):
    """Makers by name, which the files of a room enter when they are imported."""

    def __init__(self, room: str) -> None:
        """Start empty.

        Args:
            room: package whose files are imported before anything is looked up.
        """
        self.room, self.makers, self.complete = room, dict[str, Callable[..., Any]](), False

    def member(self, name: str) -> Callable[[Maker], Maker]:
        """Enter a class or function under a name; a decorator.

        Args:
            name: what configurations call it.

        Returns:
            The decorator, which returns what it is given.
        """

        def enter(maker: Maker) -> Maker:
            """Enter it."""
            self.makers[name] = maker
            return maker

        return enter

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """Look up a maker."""
        self._import_files()
        return self.makers[name]

    def __iter__(self) -> Iterator[str]:
        """List the names in alphabetic order."""
        self._import_files()
        return iter(sorted(self.makers))

    def __len__(self) -> int:
        """Count the members."""
        self._import_files()
        return len(self.makers)

    def _import_files(self) -> None:
        if not self.complete:
            for found in pkgutil.iter_modules(importlib.import_module(self.room).__path__):
                importlib.import_module(f"{self.room}.{found.name}")
            self.complete = True
