"""`qmcnet-plot DIR... --what energy|spectrum|density|pair`: a figure for print, of what runs have measured."""

import argparse
import sys
from pathlib import Path

from qmcnet.cli.report import check_folders, directories_of
from qmcnet.cli.status import answer
from qmcnet.report.plots import KINDS, PLOTS, NotMeasured, plot
from qmcnet.run.record import read_record


def main() -> None:
    """Run `qmcnet-plot`."""
    parser = argparse.ArgumentParser(prog="qmcnet-plot", description="Draw what runs have measured.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="a run directory, or a folder of several")
    parser.add_argument(
        "--what", choices=PLOTS, default="energy", help="default: energy, of several runs in one figure"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"{', '.join(KINDS)}; default: WHAT.svg in DIR")
    arguments = parser.parse_args()
    folder = arguments.runs[0] if len(arguments.runs) == 1 else Path()
    path = arguments.output or folder / f"{arguments.what}.svg"
    if path.suffix not in KINDS:
        sys.exit(f"error: --output {path} must end in one of {', '.join(KINDS)}")
    check_folders([*arguments.runs, path.parent])
    records = [read_record(directory) for directory in directories_of(arguments.runs)]
    try:
        plot(records, arguments.what, path)
    except NotMeasured as reason:
        sys.exit(f"error: {reason}")
    except OSError as error:
        sys.exit(f"error: {answer(error)}")
    print(path)
