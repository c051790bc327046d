"""A calculator for ASE: energies and forces of molecules, with their errors, by variational Monte Carlo.

Every geometry is a run in a directory, which starts from what the nearest one before has learned. A geometry that was
asked for before, in this process or another, is found again, and one that was interrupted goes on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from qmcnet.config.build import build
from qmcnet.config.composing import composed
from qmcnet.config.schema import check_arguments
from qmcnet.geometry.settings import RelaxationSettings
from qmcnet.geometry.surface import Points, Surface
from qmcnet.run.vmc import VMC
from qmcnet.system.molecule import Molecule
from qmcnet.system.trajectory import EV_PER_ANGSTROM
from qmcnet.system.units import EV_PER_HARTREE


class QMCNetCalculator(Calculator):
    """Energies in eV and forces in eV/angstrom.

    `results` has also `energy_error`, a standard deviation, and `forces_error`, those of each component, shape (A, 3).
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]  # type: ignore[misc]

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
            directory: where the runs are kept; calculators of the same molecule may share one.
            preset: `quick`, `medium`, `standard` or `paper`.
            charge: total charge; None takes what the atoms say, else 0.
            spin: n_up - n_down; None takes what the atoms say, else 0.
            relaxation: how runs after the first are made, as `RelaxationSettings` takes it.
            **settings: those of `qmcnet-train`, such as `batch_size=256`, `ansatz="psiformer_small"` or
                `ansatz={"n_layers": 2}`.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.folder, self.charge, self.spin = str(directory), charge, spin
        check_arguments(RelaxationSettings, relaxation or {}, "relaxation.")
        self.relaxation = RelaxationSettings(**(relaxation or {}))
        self.settings = {"preset": preset, **settings}

    def surface(self, run: VMC) -> Points:
        """Make what finds energies and forces.

        Args:
            run: of any geometry of the system.

        Returns:
            The surface.
        """

        def make(config: Mapping[str, Any], directory: Path) -> VMC:
            """Build the run of a geometry."""
            return build({**config, "trust": self.settings.get("trust", False)}, directory)

        return Surface(make, run.config, Path(self.folder), self.relaxation)

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
        molecule = Molecule.from_ase(self.atoms, self.charge, self.spin)
        run = composed(molecule, self.settings, Path(self.folder))
        point = self.surface(run)(run.molecule)
        self.results = {
            "energy": EV_PER_HARTREE * point.energy,
            "energy_error": EV_PER_HARTREE * point.error,
            "forces": EV_PER_ANGSTROM * point.forces,
            "forces_error": EV_PER_ANGSTROM * point.force_errors,
        }
