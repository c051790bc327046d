"""Exit statuses: 0 done, 1 failed, 75 stopped with a good checkpoint."""

import logging
import sys
import traceback
from collections.abc import Callable

from qmcnet.config import ConfigError
from qmcnet.training.directory import RunDirectoryError
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
        logger.warning("%s. The same command continues.", stop)
        return EXIT_STATUS
    except (ConfigError, RunDirectoryError, Diverged) as error:
        logger.error("error: %s", error)
        return 1
    except Exception:  # an error of ours: the log needs the traceback
        logger.error("internal error\n%s", traceback.format_exc())
        return 1
    logger.info(result.summary())
    return 0 if result.stationary else 1


def leave(statuses: list[int]) -> None:
    """Exit with the status that matters most among those of several jobs.

    Args:
        statuses: status of each job.
    """
    sys.exit(EXIT_STATUS if EXIT_STATUS in statuses else max(statuses, default=1))
