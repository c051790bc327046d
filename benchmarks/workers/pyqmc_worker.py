"""pyqmc as a contestant of `peers.py`."""

from typing import Any

from protocol import GENERATIONS, TIMESTEP, Evaluate, Spec, begin, serve, walkers


def diffusion(spec: Spec) -> tuple[Evaluate, int]:
    """Make generations of diffusion Monte Carlo with Hartree-Fock orbitals and the Jastrow factor of the package.

    Args:
        spec: the order.

    Returns:
        What makes some, and the number of parameters.
    """
    import numpy as np
    import pyqmc.api as api
    from pyqmc.configurations.coord import OpenConfigs
    from pyqmc.method.dmc import dmc_propagate
    from pyscf import gto, scf

    atoms = list(zip(spec["symbols"], spec["coordinates"], strict=True))
    molecule = gto.M(atom=atoms, unit="bohr", basis="cc-pvdz", spin=spec["n_up"] - spec["n_down"], verbose=0)
    wavefunction, free = api.generate_wf(molecule, scf.RHF(molecule).run())
    energy = {"energy": api.EnergyAccumulator(molecule)}
    state: dict[str, Any] = {"configs": OpenConfigs(walkers(spec).astype(np.float64))}
    state |= {"weights": np.ones(spec["walkers"]), "known": float(molecule.energy_nuc())}

    def generations() -> Any:
        """Make some, about the energy of those before."""
        how = {"e_trial": state["known"], "e_est": state["known"], "nsteps": GENERATIONS, "accumulators": energy}
        found, state["configs"], _ = dmc_propagate(
            wavefunction, state["configs"], state["weights"].copy(), TIMESTEP, 10.0, **how
        )
        state["known"] = float(found["energytotal"])
        return np.asarray(state["known"])

    return generations, sum(np.size(wavefunction.parameters[name]) for name in free)


def run() -> None:
    """Do the work of the order."""
    spec, channel = begin()
    evaluate, parameters = diffusion(spec)
    serve(spec, channel, evaluate, parameters, ["pyqmc", "pyscf", "numpy"])


if __name__ == "__main__":
    run()
