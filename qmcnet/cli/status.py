"""Exit statuses: 0 done, 1 failed, 75 stopped with a good checkpoint."""

import logging
import os
import sys
import traceback
from collections.abc import Callable

import torch
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from qmcnet.training.interruption import EXIT_STATUS, Interrupted
from qmcnet.training.postmortem import Diverged
from qmcnet.training.result import Result

logger = logging.getLogger(__name__)


def outcome(task: Callable[[], Result]) -> int:
    """Run a task and turn what happens into an exit status and a message.

    Args:
        task: returns the result to show.

    Returns:
        0, 1 or 75.
    """
    logging.captureWarnings(True)
    try:
        result = task()
    except Interrupted as stop:
        logger.warning("%s. The same command continues, without resume=false if that was given.", stop)
        return EXIT_STATUS
    except (ValueError, Diverged) as error:
        logger.error("error: %s", error)
        logger.debug("raised here", exc_info=True)
        return 1
    except torch.OutOfMemoryError as error:
        logger.error("error: %s Lower laplacian.chunk_size, optimizer.chunk_size or batch_size.", error)
        return 1
    except Exception:  # an error of ours: the log needs the traceback
        logger.error("internal error\n%s", traceback.format_exc())
        return 1
    logger.info(result.summary())
    return 0 if result.stationary or result.evaluation_steps == 0 else 1


def run_jobs(job: Callable[[], None], statuses: list[int]) -> None:
    """Run a Hydra job, or several of a sweep, and exit with the status that matters most.

    Args:
        job: function decorated by `hydra.main`.
        statuses: where the job puts the status of each run.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise what it would print with a traceback
    try:
        job()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        message = str(error).partition("Config search path:")[0]
        sys.exit(f"error: {' '.join(message.split())}")
    sys.exit(EXIT_STATUS if EXIT_STATUS in statuses else max(statuses, default=1))
