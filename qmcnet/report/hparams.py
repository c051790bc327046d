"""Settings and final figures of a run for TensorBoard's HParams table."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from torch.utils.tensorboard import SummaryWriter


def write_hparams(folder: Path, settings: Mapping[str, Any], metrics: Mapping[str, float | None]) -> None:
    """Write settings and final figures for TensorBoard's HParams table, in place of those of a shorter run.

    TensorBoard lists the settings of all runs that it finds, since none of them says what the columns are.

    Args:
        folder: the run directory.
        settings: flat settings; those that are not scalars are left out, and so are names of classes.
        metrics: final figures; nothing is written while one is unknown.
    """
    named = {key: value for key, value in settings.items() if not key.rpartition(".")[2].startswith("_")}
    scalars = {key: value for key, value in named.items() if isinstance(value, bool | int | float | str)}
    if any(value is None for value in metrics.values()):
        return
    shutil.rmtree(folder / "hparams", ignore_errors=True)
    with SummaryWriter(str(folder / "hparams")) as writer:
        writer.file_writer.add_summary(hparams_pb(scalars, trial_id=str(folder)))
        for name, value in metrics.items():
            writer.add_scalar(f"hparam/{name}", value, 0)
