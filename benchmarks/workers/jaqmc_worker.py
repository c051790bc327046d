"""bytedance/jaqmc as a contestant of `peers.py`, with its default forward Laplacian that keeps sparsity."""

from typing import Any

import numpy as np
from protocol import SEED, Evaluate, Spec, begin, serve, walkers

PACKAGES = ["jaqmc", "jax", "jaxlib", "kfac-jax"]


class Latest:
    """Takes the place of the package's writers and keeps the statistics of the last step."""

    stats: dict[str, Any]

    def write(self, step: int, stats: dict[str, Any]) -> None:
        """Keep the statistics."""
        self.stats = stats


def network(spec: Spec) -> Any:
    """Build the network with its default settings."""
    from jaqmc.app.molecule.wavefunction.ferminet import FermiNetWavefunction
    from jaqmc.app.molecule.wavefunction.psiformer import PsiformerWavefunction

    kind = PsiformerWavefunction if spec["work"] == "psiformer" else FermiNetWavefunction
    return kind(nspins=(spec["n_up"], spec["n_down"]))


def data_of(spec: Spec) -> Any:
    """Hand over the walkers."""
    import jax.numpy as jnp
    from jaqmc.app.molecule.data import MoleculeData
    from jaqmc.data import BatchedData

    atoms, charges = jnp.asarray(spec["coordinates"], jnp.float32), jnp.asarray(spec["charges"])
    return BatchedData(MoleculeData(jnp.asarray(walkers(spec)), atoms, charges), ["electrons"])


def log_psi(wave: Any, parameters: Any, data: Any, spec: Spec) -> Evaluate:
    """Evaluate log|psi|."""
    import jax

    function = jax.jit(jax.vmap(wave.logpsi, (None, data.vmap_axis)))
    return lambda: np.asarray(function(parameters, data.data))


def local_energy(wave: Any, parameters: Any, data: Any, spec: Spec) -> Evaluate:
    """Evaluate the local energy."""
    import jax
    from jaqmc.app.molecule.hamiltonian import potential_energy
    from jaqmc.estimator.kinetic import EuclideanKinetic

    kinetic = EuclideanKinetic(f_log_psi=wave.logpsi)
    cores = core_potentials(wave, data, spec) if spec["ecp"] else None

    def energy(parameters: Any, one: Any, key: Any) -> Any:
        stats, _ = kinetic.evaluate_single_walker(parameters, one, {}, None, None)
        potential, _ = potential_energy(parameters, one, stats, None, None)
        total = stats["energy:kinetic"] + potential["energy:potential"]
        return total + cores.evaluate_single_walker(parameters, one, {}, None, key)[0]["energy:ecp"] if cores else total

    function = jax.jit(jax.vmap(energy, (None, data.vmap_axis, 0)))
    keys = jax.random.split(jax.random.PRNGKey(SEED), spec["walkers"])
    return lambda: np.asarray(function(parameters, data.data, keys))


def core_potentials(wave: Any, data: Any, spec: Spec) -> Any:
    """Build the estimator of effective core potentials with its default settings."""
    from jaqmc.estimator.ecp import ECPEnergy
    from pyscf.gto.basis import load_ecp

    symbols = list(spec["symbols"])
    tables = {symbol: load_ecp(spec["ecp"], symbol) for symbol in symbols}
    cores = ECPEnergy(phase_logpsi=wave.phase_logpsi, ecp_coefficients=tables, atom_symbols=symbols)
    cores.init(data.unbatched_example(), None)
    return cores


def stage_of(wave: Any, spec: Spec) -> Any:
    """Build the training stage as its molecule workflow does, without writers and burn-in."""
    from jaqmc.app.molecule.hamiltonian import potential_energy
    from jaqmc.estimator.kinetic import EuclideanKinetic
    from jaqmc.estimator.total_energy import TotalEnergy
    from jaqmc.optimizer.kfac import KFACOptimizer
    from jaqmc.optimizer.sr import SROptimizer
    from jaqmc.sampler.mcmc import MCMCSampler
    from jaqmc.utils.config import ConfigManager
    from jaqmc.workflow.stage.vmc import VMCWorkStage

    settings = ConfigManager({"train": {"run": {"iterations": 10**9, "burn_in": 0}}})
    builder = VMCWorkStage.builder(settings.scoped("train"), wave)
    builder.configure_writers(Latest())
    builder.configure_sample_plan(wave.logpsi, {"electrons": MCMCSampler(steps=10)})
    optimizer = SROptimizer if spec["variant"] == "sr" else KFACOptimizer
    builder.configure_optimizer(default=optimizer, f_log_psi=wave.logpsi)
    kinetic = EuclideanKinetic(f_log_psi=wave.logpsi)
    builder.configure_estimators(potential=potential_energy, kinetic=kinetic, total=TotalEnergy())
    builder.configure_loss_grads(f_log_psi=wave.logpsi)
    return builder.build()


def iteration(wave: Any, parameters: Any, data: Any, spec: Spec) -> Evaluate:
    """Make a training iteration: ten moves, local energy, KFAC or stochastic reconfiguration."""
    import jax
    from jaqmc.utils import parallel_jax

    stage = stage_of(wave, spec)
    key_state, key_run = jax.random.split(jax.random.PRNGKey(SEED))
    data = jax.device_put(data, parallel_jax.make_sharding(data.partition_spec))
    parameters = jax.device_put(parameters, parallel_jax.make_sharding(parallel_jax.SHARE_PARTITION))
    state = stage.create_state(key_state, params=parameters, batched_data=data)
    keys = jax.random.split(key_run, jax.device_count()).flatten()
    keys = jax.device_put(keys, parallel_jax.make_sharding(parallel_jax.DATA_PARTITION))
    steps = stage.loop(state, 0, keys)

    def evaluate() -> np.ndarray:
        jax.block_until_ready(next(steps))
        return np.asarray(stage.writers.stats["total_energy"])

    return evaluate


WORKS = {
    "log_psi": log_psi,
    "local_energy": local_energy,
    "core_energy": local_energy,
    "psiformer": local_energy,
    "iteration": iteration,
    "first_step": iteration,
}


def run() -> None:
    """Do the work of the order."""
    spec, channel = begin()
    import jax

    wave, data = network(spec), data_of(spec)
    parameters = wave.init_params(data.unbatched_example(), jax.random.PRNGKey(SEED))
    count = sum(x.size for x in jax.tree.leaves(parameters))
    serve(spec, channel, WORKS[spec["work"]](wave, parameters, data, spec), count, PACKAGES)


if __name__ == "__main__":
    run()
