"""A relaxation in one folder, which the same call continues whatever happened."""

from collections.abc import Callable

from qmcnet.checks import at_least, positive
from qmcnet.chemistry.hessian import mean_field_hessian
from qmcnet.compute.team import by_first, team
from qmcnet.geometry.conclusion import check_relaxable, concluded
from qmcnet.geometry.relaxation import Search
from qmcnet.geometry.surface import Surface
from qmcnet.report.origin import origin
from qmcnet.report.relaxation import Relaxation
from qmcnet.run.identity import config_hash
from qmcnet.run.interruption import Interrupted, Interruption
from qmcnet.run.lock import lock
from qmcnet.run.vmc import VMC
from qmcnet.system.molecule import Molecule


def nothing(_: VMC) -> None:
    """Do nothing."""


def relax(
    surface: Surface,
    start: Molecule,
    max_force: float = 1e-3,
    geometries: int = 20,
    frequencies: bool = False,
    on_claim: Callable[[VMC], None] = nothing,
) -> Relaxation:
    """Find the structure at rest, and its vibrations, and write files beside the runs.

    Args:
        surface: makes the runs.
        start: the geometry to begin with.
        max_force: size of the forces, in hartree/bohr, below which a structure is at rest, and which the errors of its
            forces are to reach.
        geometries: most geometries at which there is a run, besides those that frequencies need.
        frequencies: whether to find vibrations.
        on_claim: called with the run of the start once it is clear that the folder is free for it.

    Returns:
        The structure.

    Raises:
        ValueError: for a number out of range, an atom, or where the runs tell no minimum.
    """
    positive(max_force=max_force)
    at_least(1, geometries=geometries)
    check_relaxable(start)
    first = surface.check(start)
    with team().alone(lambda: lock(surface.folder)), Interruption(surface.wall_time) as interruption:
        on_claim(first)

        def pause() -> None:
            """Stop here if a signal came while no run was under way.

            Raises:
                Interrupted: if one did, or the wall time is used up.
            """
            if stop := team().agree(interruption.requested()):
                raise Interrupted(f"{stop}: saved between two geometries")

        limits = (surface.settings.trust_radius, max_force, geometries)
        search = Search(surface, by_first(mean_field_hessian), *limits, pause)
        model, place, reason = search.relax(start, frequencies)
        metadata = origin(start, first.config, config_hash(first.config))
        found = concluded(search.points, model, place, reason, max_force, frequencies, metadata)
        by_first(found.store)(surface.folder)
        return found
