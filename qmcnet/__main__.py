"""`python -m qmcnet [train|evaluate|dmc] ...`: the commands, where they are not on the path."""

import sys

from qmcnet.cli import dmc, evaluate, train


def main() -> None:
    """Run the command that the first argument names, or `qmcnet-train`."""
    commands = {"train": train.main, "evaluate": evaluate.main, "dmc": dmc.main}
    name = sys.argv.pop(1) if sys.argv[1:2] and sys.argv[1] in commands else "train"
    sys.argv[0] = f"qmcnet-{name}"
    commands[name]()


if __name__ == "__main__":
    main()
