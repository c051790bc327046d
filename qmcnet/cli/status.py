"""Exit statuses: 0 done, 1 failed, 75 stopped with a good checkpoint."""

import errno
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import version
from typing import Protocol

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from qmcnet.cli.arguments import explain, prepare
from qmcnet.cli.lost_jobs import OTHERS, origin
from qmcnet.compute.chunks import out_of_memory
from qmcnet.compute.launch import joined
from qmcnet.compute.processes import PeerLost
from qmcnet.compute.team import team
from qmcnet.run.interruption import EXIT_STATUS, Interrupted
from qmcnet.run.postmortem import Diverged

logger = logging.getLogger(__name__)

reasons: list[str] = []
"""Why jobs of this process failed, one line each."""

OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
"""What a user can mend while the run waits."""

SHOWING = {"--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help"}
"""What is typed to look at the configuration, without a run."""


class Found(Protocol):
    """What a task found."""

    @property
    def succeeded(self) -> bool:
        """Whether it is an estimate, where one was asked for."""

    def summary(self) -> str:
        """Say what was found."""


def outcome(task: Callable[[], Found]) -> int:
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
    except KeyboardInterrupt:
        logger.error("stopped in the middle of a step. The same command continues from the newest checkpoint.")
        return EXIT_STATUS
    except PeerLost:
        if reason := team().fails(None):
            logger.error("error: %s. The same command continues from the newest checkpoint", reason)
        return 1
    except Exception as error:
        if not isinstance(error.__context__, Interrupted):
            return failed(error)
        logger.warning("%s The same command continues.", error)  # of a scheduler that will not queue the job again
        return EXIT_STATUS
    logger.info(result.summary())
    return 0 if result.succeeded else 1


def failed(error: Exception) -> int:
    """Say why a task failed.

    Args:
        error: that it raised.

    Returns:
        1.
    """
    message = answer(error)
    reasons.append((message or f"internal error: {error!r}").splitlines()[0])
    team().fails(message or f"internal error: {error!r}")
    if message is None:  # an error of ours: the log needs the traceback
        logger.error("internal error\n%s", "".join(traceback.format_exception(error)).rstrip())
    else:
        logger.error("error: %s", message)
        logger.debug("raised here", exc_info=error)
    return 1


def answer(error: Exception) -> str | None:
    """Say in one line what a user can do about an error.

    Args:
        error: raised by a run.

    Returns:
        The line, or None for an error that is nobody's but ours.
    """
    if isinstance(error, ValueError | Diverged):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        place = f": {error.filename}" if error.filename else ""
        again = ". The same command continues once this is mended" if error.errno in OF_THE_DISK else ""
        return f"{error.strerror}{place}{again}"
    if out_of_memory(error):
        asked = re.search(r"allocate (\d+) bytes", str(error))
        size = f" ({int(asked[1]) / 2**30:.1f} GiB at once)" if asked else ""
        return f"out of memory{size}: lower batch_size, laplacian.chunk_size, optimizer.chunk_size or the network"
    return None


@contextmanager
def quiet_streams() -> Generator[None]:
    """Let a reader that goes away, as in `qmcnet-train ... | head`, be no reason for a message at the end.

    Yields:
        Nothing.
    """
    try:
        yield
    finally:
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            try:
                stream.flush()
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)


@contextmanager
def said_by_first() -> Generator[None]:
    """Let the first process of a run alone speak to the terminal.

    Yields:
        Nothing.

    Raises:
        SystemExit: as the command does; of other processes without a message.
    """
    if team().rank == 0:
        yield
        return
    with open(os.devnull, "w") as nobody, redirect_stdout(nobody), redirect_stderr(nobody):
        try:
            yield
        except SystemExit as end:
            raise SystemExit(1 if isinstance(end.code, str) else end.code) from end


def about_yaml(error: YAMLError) -> str:
    """Say where a configuration file of the user's own is wrong.

    Args:
        error: of the reader.

    Returns:
        One line.
    """
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}"


def run_jobs(job: Callable[[], None], statuses: list[int], config: str = "config") -> None:
    """Run a Hydra job, or several of a sweep, and exit with the status that matters most.

    Args:
        job: function decorated by `hydra.main`.
        statuses: where the job puts the status of each run.
        config: name of its configuration.
    """
    command, typed = os.path.basename(sys.argv[0]), sys.argv[1:]
    if "--version" in typed:
        print(f"qmcnet {version('qmcnet')}")
        sys.exit(0)
    if sys.flags.optimize > 1:
        sys.exit("error: PySCF needs its docstrings: run python without -OO")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise what it would print with a traceback
    warnings.filterwarnings("ignore", "\n'hydra/launcher/ray' is validated")  # that of its plugin has this name, too
    logging.raiseExceptions = False  # a log that cannot be written is no reason for a traceback
    try:
        with quiet_streams(), joined(), said_by_first():
            _run(job, typed, command, config)
    except ValueError as error:
        sys.exit(f"error: {error}")
    nothing_to_do = 0 if SHOWING & {text.partition("=")[0] for text in typed} else 1
    sys.exit(EXIT_STATUS if EXIT_STATUS in statuses else max(statuses, default=nothing_to_do))


def _run(job: Callable[[], None], typed: Sequence[str], command: str, config: str) -> None:
    """Run a Hydra job; what cannot be run leaves with one line."""
    try:
        sys.argv[1:] = prepare(typed)
        job()
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(f"error: {explain(error, typed, command, config)}")
    except YAMLError as error:
        sys.exit(f"error: {about_yaml(error)}")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {' '.join((answer(error) or str(error)).split())}")
    except KeyboardInterrupt:
        sys.exit(EXIT_STATUS)
    except Exception as error:
        if str(error).startswith("Unknown plugin class"):  # that of a launcher
            sys.exit(f"error: {explain(error, typed, command, config)}")
        if origin(error) not in OTHERS:
            raise
        sys.exit(f"error: the launcher cannot start the runs: {str(error).strip().partition(chr(10))[0]}")


def leave_if_failed(statuses: Sequence[int]) -> None:
    """Leave a sweep that several processes make together once a job has failed: one of them may have failed alone.

    Args:
        statuses: of the jobs so far.

    Raises:
        SystemExit: after a failure.
    """
    if team().size > 1 and 1 in statuses:
        raise SystemExit(1)
