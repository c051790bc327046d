"""qmcnet as a contestant of `peers.py`."""

import sys
from collections.abc import Callable
from typing import Any

from protocol import GENERATIONS, SEED, TIMESTEP, Evaluate, Spec, begin, send, serve, walkers

SHORTEST_RUN = [
    "device=cpu",
    "steps=1",
    "pretraining.steps=0",
    "burn_in.min_sweeps=0",
    "burn_in.max_sweeps=0",
    "evaluation.steps=0",
]
"""Overrides of qmcnet-train for one optimisation step and nothing else."""


def molecule(spec: Spec) -> Any:
    """Build the system of the order."""
    from qmcnet.system.molecule import Molecule

    coordinates = tuple(map(tuple, spec["coordinates"]))
    return Molecule(tuple(spec["symbols"]), coordinates, spin=spec["n_up"] - spec["n_down"], ecp=spec["ecp"])


def wavefunction(spec: Spec) -> Any:
    """Build the wavefunction of the order."""
    from qmcnet.ansatz import FermiNet, Psiformer, SlaterJastrow
    from qmcnet.states.natural import NaturalStates

    if spec["work"] == "diffusion":
        return NaturalStates(SlaterJastrow(molecule(spec), basis="cc-pvdz", seed=SEED))
    if spec["work"] == "psiformer":
        return NaturalStates(Psiformer(molecule(spec), seed=SEED))
    network = FermiNet(molecule(spec), n_layers=4, hidden_one=256, hidden_two=32, n_determinants=16, seed=SEED)
    return NaturalStates(network)


def log_psi(spec: Spec, ansatz: Any, positions: Any) -> Evaluate:
    """Evaluate log|psi|."""
    import torch

    from qmcnet.compute.compilation import Compiled

    if spec["variant"] == "compiled":
        compiled = Compiled(lambda r: (ansatz(r)[1],), "wavefunction")
        return lambda: compiled(positions)[0].numpy()
    return torch.inference_mode()(lambda: ansatz(positions)[1].numpy())


def local_energy(spec: Spec, ansatz: Any, positions: Any) -> Evaluate:
    """Evaluate the local energy."""
    import torch

    from qmcnet.laplacian import ForwardLaplacian
    from qmcnet.operators import MolecularHamiltonian
    from qmcnet.states.ensemble import states_at

    hamiltonian = MolecularHamiltonian(molecule(spec))
    laplacian, generator = ForwardLaplacian(compile=spec["variant"] == "compiled"), torch.Generator()
    return lambda: hamiltonian(states_at(ansatz, positions, laplacian, generator)).total.numpy()


def iteration(spec: Spec, ansatz: Any, positions: Any) -> Evaluate:
    """Make a training iteration as `qmcnet-train` does: ten moves, local energy, SPRING."""
    import torch

    from qmcnet.optimizers import Spring
    from qmcnet.stages.optimization import Optimization

    stage = Optimization(simulation(spec, ansatz, positions), Spring(ansatz), steps=sys.maxsize)
    return lambda: torch.as_tensor(stage.advance()["energy"]).numpy()


def simulation(spec: Spec, ansatz: Any, positions: Any) -> Any:
    """Bring wavefunction and walkers together."""
    import torch

    from qmcnet.laplacian import ForwardLaplacian
    from qmcnet.operators import MolecularHamiltonian
    from qmcnet.sampling import Metropolis
    from qmcnet.stages.simulation import Simulation

    compile = spec["variant"] == "compiled"
    how = MolecularHamiltonian(molecule(spec)), ForwardLaplacian(compile=compile)
    sampler, device = Metropolis(steps=10), torch.device("cpu")
    run = Simulation.start(ansatz, *how, sampler, len(positions), SEED, device)
    run.compile = compile
    run.walkers = sampler.start(positions)
    return run


def diffusion(spec: Spec, ansatz: Any, positions: Any) -> Evaluate:
    """Make generations of diffusion Monte Carlo as `qmcnet-dmc` does."""
    import torch

    from qmcnet.stages.diffusion import Diffusion
    from qmcnet.stages.diffusion_settings import DiffusionSettings

    single = spec["variant"] == "one_by_one"
    settings = DiffusionSettings([TIMESTEP], target_error=None, steps=10**9, single_electron=single)
    stage = Diffusion(simulation(spec, ansatz, positions), settings)
    return lambda: torch.tensor([stage.advance()["energy"] for _ in range(GENERATIONS)]).numpy()


WORKS: dict[str, Callable[[Spec, Any, Any], Evaluate]] = {
    "log_psi": log_psi,
    "local_energy": local_energy,
    "core_energy": local_energy,
    "psiformer": local_energy,
    "iteration": iteration,
    "diffusion": diffusion,
}


def first_step(spec: Spec) -> None:
    """Run `qmcnet-train` from start to end with one step, in the current directory."""
    from qmcnet.cli.train import main

    system = ["+system=N2", f"bond_length={spec['coordinates'][1][2]}"]
    sys.argv = ["qmcnet-train", *system, f"batch_size={spec['walkers']}", *SHORTEST_RUN]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise


def run() -> None:
    """Do the work of the order."""
    spec, channel = begin()
    if spec["work"] == "first_step":
        first_step(spec)
        send(channel, {})
        return
    import torch

    from qmcnet.compute.process import prepare_process

    prepare_process()
    torch.set_num_threads(spec["threads"])
    ansatz, positions = wavefunction(spec), torch.from_numpy(walkers(spec))
    parameters = sum(p.numel() for p in ansatz.parameters())
    serve(spec, channel, WORKS[spec["work"]](spec, ansatz, positions), parameters, ["qmcnet", "torch"])


if __name__ == "__main__":
    run()
