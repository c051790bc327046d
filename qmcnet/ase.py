"""A calculator for ASE: energies and forces of molecules, with their errors, by variational Monte Carlo.

Every geometry is a run in a directory, which starts from what the nearest one before has learned. A geometry that was
asked for before, in this process or another, is found again, and one that was interrupted goes on.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.outputs import Properties

from qmcnet.config.build import build
from qmcnet.config.composing import composed
from qmcnet.config.schema import check_arguments
from qmcnet.geometry.settings import RelaxationSettings
from qmcnet.geometry.surface import Points, Surface, say_replaced
from qmcnet.run.identity import flatten
from qmcnet.run.vmc import VMC
from qmcnet.system.molecule import Molecule
from qmcnet.system.trajectory import EV_PER_ANGSTROM
from qmcnet.system.units import EV_PER_HARTREE

logger = logging.getLogger(__name__)

OWN = ("charge", "spin", "relaxation")
"""Settings that those of `qmcnet-train` do not have."""
STATED = ("charge", "spin", "multiplicity")
"""What `atoms.info` may state of the electrons."""


class QMCNetCalculator(Calculator):
    """Energies in eV and forces in eV/angstrom.

    `results` has also `energy_error`, a standard deviation, and `forces_error`, those of each component, shape (A, 3).
    `set` changes settings, and forgets the results, but not the runs.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]  # type: ignore[misc]
    discard_results_on_any_change = True

    def __init__(
        self,
        directory: str | Path = "qmcnet",
        preset: str = "quick",
        charge: int | None = None,
        spin: int | None = None,
        relaxation: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """Keep the settings; nothing is computed yet.

        Args:
            directory: where the runs are kept; calculators of the same molecule and settings may share one.
            preset: `quick`, `medium`, `standard` or `paper`.
            charge: total charge; None takes what the atoms say, else 0.
            spin: n_up - n_down; None takes what the atoms say, else 0.
            relaxation: how runs after the first are made, as `RelaxationSettings` takes it.
            **settings: those of `qmcnet-train`, such as `batch_size=256`, `ansatz="psiformer_small"` or
                `ansatz={"n_layers": 2}`.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.folder = str(directory)
        self.set(preset=preset, charge=charge, spin=spin, relaxation=relaxation, **settings)

    def set(self, **settings: Any) -> dict[str, Any]:
        """Change settings.

        Args:
            **settings: as those that the calculator was made with, but for the directory.

        Returns:
            Those that are not what they were.

        Raises:
            ValueError: for another directory, or what `RelaxationSettings` refuses.
        """
        if "directory" in settings:
            raise ValueError("directory: make another calculator for another directory")
        relaxation = settings.get("relaxation") or {}
        if not isinstance(relaxation, Mapping):
            raise ValueError(f"relaxation={relaxation!r} is not a mapping: write relaxation={{'steps': 100}}")
        check_arguments(RelaxationSettings, relaxation, "relaxation.")
        RelaxationSettings(**relaxation)
        say_replaced(flatten({name: value for name, value in settings.items() if name not in OWN}))
        changed: dict[str, Any] = super().set(**settings)  # type: ignore[no-untyped-call]
        return changed

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Say what has changed since the last calculation, charge and spin among it that `atoms.info` states.

        Args:
            atoms: the molecule.
            tol: how far positions may differ.

        Returns:
            Names of what has changed.
        """
        changes: list[str] = super().check_state(atoms, tol)  # type: ignore[no-untyped-call]
        before, now = {} if self.atoms is None else self.atoms.info, atoms.info
        return changes + [name for name in STATED if str(before.get(name)) != str(now.get(name))]

    def export_properties(self) -> Properties:
        """Give the results that ASE has names for."""
        known = {name: value for name, value in self.results.items() if name in self.implemented_properties}
        return Properties(known)

    def surface(self, run: VMC) -> Points:
        """Make what finds energies and forces.

        Args:
            run: of any geometry of the system.

        Returns:
            The surface.
        """

        def make(config: Mapping[str, Any], directory: Path) -> VMC:
            """Build the run of a geometry."""
            return build({**config, "trust": self.parameters.get("trust", False)}, directory)

        relaxation = RelaxationSettings(**(self.parameters["relaxation"] or {}))
        return Surface(make, run.config, Path(self.folder), relaxation)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy", "forces"),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Find energy and forces.

        Args:
            atoms: the molecule.
            properties: not looked at: both come from the same run.
            system_changes: what has changed since the last time.
        """
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        self.results = {}  # those of other atoms are not to be found where this fails
        settings = {name: value for name, value in self.parameters.items() if name not in OWN}
        molecule = Molecule.from_ase(self.atoms, self.parameters["charge"], self.parameters["spin"])
        run = composed(molecule, settings, Path(self.folder))
        point = self.surface(run)(run.molecule)
        for caveat in point.caveats:
            logger.warning("%s: %s", point.directory, caveat)
        energy = EV_PER_HARTREE * point.energy
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energy_error": EV_PER_HARTREE * point.error,
            "forces": EV_PER_ANGSTROM * point.forces,
            "forces_error": EV_PER_ANGSTROM * point.force_errors,
        }
