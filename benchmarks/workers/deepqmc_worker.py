"""deepqmc/deepqmc as a contestant of `peers.py`, with its `qc` or `qc_forward_laplacian` Hamiltonian."""

from itertools import count
from typing import Any

import numpy as np
from protocol import SEED, Evaluate, Spec, begin, serve, walkers

PACKAGES = ["deepqmc", "folx", "jax", "jaxlib", "kfac-jax"]
HAMILTONIANS = {"qc": "qc", "forward": "qc_forward_laplacian"}


def configuration(spec: Spec) -> dict[str, Any]:
    """Compose its own configuration for the network and system of the order."""
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    name = "psiformer" if spec["work"] == "psiformer" else "ferminet"
    groups = [f"ansatz={name}", f"task=train_{name}", f"hamil={HAMILTONIANS[spec['variant']]}"]
    sampler = "task/sampler_factory/elec_sampler=decorr_metropolis_ferminet"
    with initialize_config_module("deepqmc.conf", version_base=None):
        cfg = compose("config", groups + [sampler] * (name == "ferminet"))
    molecule = {"coords": spec["coordinates"], "charges": spec["numbers"], "charge": 0, "unit": "bohr"}
    cfg.hamil.mol = {"_target_": "deepqmc.molecule.Molecule", "spin": spec["n_up"] - spec["n_down"], **molecule}
    if spec["ecp"]:
        OmegaConf.update(cfg, "hamil.ecp_type", spec["ecp"], force_add=True)
    return {key: OmegaConf.to_container(cfg[key]) for key in ("ansatz", "hamil")} | {
        "task": {key: OmegaConf.to_container(cfg.task[key]) for key in ("opt", "sampler_factory")}
        | {"loss_function_factory": OmegaConf.to_container(cfg.task.loss_function_factory)}
    }


def configurations_of(spec: Spec) -> Any:
    """Hand over the walkers."""
    import jax.numpy as jnp
    from deepqmc.types import PhysicalConfiguration

    batch = spec["walkers"]
    nuclei = jnp.tile(jnp.asarray(spec["coordinates"], jnp.float32), (batch, 1, 1))
    return PhysicalConfiguration(nuclei, jnp.asarray(walkers(spec)), jnp.zeros(batch, jnp.int32))


def log_psi(parts: dict[str, Any], parameters: Any, spec: Spec) -> Evaluate:
    """Evaluate log|psi|."""
    import jax

    data, function = configurations_of(spec), jax.jit(jax.vmap(parts["ansatz"].apply, (None, 0)))
    return lambda: np.asarray(function(parameters, data).log)


def local_energy(parts: dict[str, Any], parameters: Any, spec: Spec) -> Evaluate:
    """Evaluate the local energy."""
    import jax

    data, energy = configurations_of(spec), parts["hamil"].local_energy(parts["ansatz"].apply)
    function = jax.jit(jax.vmap(lambda key, p, one: energy(key, p, one)[0], (0, None, 0)))
    keys = jax.random.split(jax.random.PRNGKey(SEED), spec["walkers"])
    return lambda: np.asarray(function(keys, parameters, data))


def iteration(parts: dict[str, Any], parameters: Any, spec: Spec) -> Evaluate:
    """Make a training iteration: ten moves, local energy, KFAC."""
    import jax
    import jax.numpy as jnp
    from deepqmc.fit import fit_wf
    from deepqmc.observable import observable_monitor_from_name
    from deepqmc.parallel import replicate_on_devices, split_rng_key_to_devices
    from deepqmc.sampling import initialize_sampler_state
    from deepqmc.types import TrainState

    hamil, ansatz, task = parts["hamil"], parts["ansatz"], parts["task"]
    key = jax.random.PRNGKey(SEED)
    indices, sampler = task["sampler_factory"](key, hamil, ansatz, [hamil.mol], 1, 1)
    stacked = replicate_on_devices(jax.tree.map(lambda x: x[None], parameters))
    keys, nuclei = split_rng_key_to_devices(key), jnp.stack([hamil.mol.coords])
    samples = initialize_sampler_state(keys, sampler, stacked, spec["walkers"], nuclei)
    samples["elec"]["r"] = jnp.broadcast_to(walkers(spec), samples["elec"]["r"].shape)
    samples = jax.pmap(sampler.update)(samples, stacked)
    state = TrainState(samples, stacked, None)
    loss = task["loss_function_factory"]
    monitors = [observable_monitor_from_name("local_energy").finalize(hamil, ansatz.apply)]
    steps = fit_wf(keys, hamil, ansatz, task["opt"], indices, sampler, count(), state, None, loss, monitors)

    def evaluate() -> np.ndarray:
        stats = jax.block_until_ready(next(steps))[3]
        return np.asarray(stats["local_energy/mean"])

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
    import deepqmc.app  # before jax, whose precision it sets
    import jax
    from hydra.utils import instantiate

    parts = {key: instantiate(part, _convert_="all") for key, part in configuration(spec).items()}
    parts["ansatz"] = deepqmc.app.instantiate_ansatz(parts["hamil"], parts["ansatz"])
    one = jax.tree.map(lambda x: x[0], configurations_of(spec))
    parameters = parts["ansatz"].init(jax.random.PRNGKey(SEED), one)
    size = sum(x.size for x in jax.tree.leaves(parameters))
    serve(spec, channel, WORKS[spec["work"]](parts, parameters, spec), size, PACKAGES)


if __name__ == "__main__":
    run()
