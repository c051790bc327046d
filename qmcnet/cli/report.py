"""`qmcnet-report DIR...`: a page about a run, or several side by side, in one file with all that it needs."""

import argparse
import sys
from pathlib import Path

from qmcnet.cli.status import answer
from qmcnet.run.points import directories_in
from qmcnet.run.report import NAME, write_report


def main() -> None:
    """Run `qmcnet-report`."""
    parser = argparse.ArgumentParser(prog="qmcnet-report", description="Make a page about runs, also while they work.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="a run directory, or a folder of several")
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"default: {NAME} in DIR, of several DIRs here")
    arguments = parser.parse_args()
    path = arguments.output or (arguments.runs[0] / NAME if len(arguments.runs) == 1 else Path(NAME))
    check_folders([*arguments.runs, path.parent])
    directories = directories_of(arguments.runs)
    try:
        print(write_report(directories, path, arguments.runs[0] if len(arguments.runs) == 1 else None))
    except OSError as error:
        sys.exit(f"error: {answer(error)}")


def check_folders(folders: list[Path]) -> None:
    """Leave with a line if a folder is none.

    Args:
        folders: of runs, and of what is to be written.
    """
    if absent := [folder for folder in folders if not folder.is_dir()]:
        sys.exit(f"error: {absent[0]} is no directory")


def directories_of(folders: list[Path]) -> list[Path]:
    """Find runs, or leave with a line.

    Args:
        folders: run directories, or folders of run directories.

    Returns:
        The run directories.
    """
    try:
        found = list(directories_in(folders))
    except OSError as error:
        sys.exit(f"error: {answer(error)}")
    if not found:
        sys.exit(f"error: there is no run in {folders[0]}")
    return found
