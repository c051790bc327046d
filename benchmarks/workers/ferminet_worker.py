"""google-deepmind/ferminet as a contestant of `peers.py`, with its default Laplacian or with folx."""

from typing import Any

import numpy as np
from protocol import SEED, Evaluate, Spec, begin, serve, walkers

MOVE_WIDTH = 0.02
PACKAGES = ["ferminet", "folx", "jax", "jaxlib", "kfac-jax"]


def network(spec: Spec) -> Any:
    """Build the network with the settings of its `base_config`."""
    import jax.numpy as jnp
    from ferminet import base_config, networks, psiformer

    settings = base_config.default().network
    spins, charges = (spec["n_up"], spec["n_down"]), jnp.asarray(spec["charges"], jnp.float32)
    if spec["work"] == "psiformer":
        return psiformer.make_fermi_net(spins, charges, determinants=16, **settings.psiformer)
    return networks.make_fermi_net(spins, charges, determinants=16, **settings.ferminet)


def data_of(spec: Spec) -> Any:
    """Hand over the walkers."""
    import jax.numpy as jnp
    from ferminet import networks

    positions, batch = walkers(spec), spec["walkers"]
    spins = np.repeat([1.0, -1.0], [spec["n_up"], spec["n_down"]])
    return networks.FermiNetData(
        positions=jnp.asarray(positions.reshape(batch, -1)),
        spins=jnp.tile(jnp.asarray(spins), (batch, 1)),
        atoms=jnp.tile(jnp.asarray(spec["coordinates"], jnp.float32), (batch, 1, 1)),
        charges=jnp.tile(jnp.asarray(spec["charges"], jnp.float32), (batch, 1)),
    )


def batched(net: Any) -> Any:
    """Map log|psi| over walkers."""
    import jax

    return jax.vmap(lambda *arguments: net.apply(*arguments)[1], (None, 0, 0, 0, 0))


def log_psi(net: Any, parameters: Any, spec: Spec) -> Evaluate:
    """Evaluate log|psi|."""
    import jax

    data, function = data_of(spec), jax.jit(batched(net))
    return lambda: np.asarray(function(parameters, data.positions, data.spins, data.atoms, data.charges))


def energy_function(net: Any, spec: Spec) -> Any:
    """Build the local energy of one walker."""
    import jax.numpy as jnp
    from ferminet import hamiltonian

    spins, charges = (spec["n_up"], spec["n_down"]), jnp.asarray(spec["charges"], jnp.float32)
    return hamiltonian.local_energy(net.apply, charges, spins, laplacian_method=spec["variant"])


def local_energy(net: Any, parameters: Any, spec: Spec) -> Evaluate:
    """Evaluate the local energy."""
    import jax
    from ferminet import networks

    axes = networks.FermiNetData(positions=0, spins=0, atoms=0, charges=0)
    key, data = jax.random.PRNGKey(SEED), data_of(spec)
    function = jax.jit(jax.vmap(energy_function(net, spec), (None, None, axes)))
    return lambda: np.asarray(function(parameters, key, data)[0])


def kfac(net: Any, spec: Spec) -> Any:
    """Build the optimiser with the settings of its `base_config`."""
    import jax
    import kfac_jax
    from ferminet import base_config, constants, curvature_tags_and_blocks, loss

    optim = base_config.default().optim
    evaluate_loss = loss.make_loss(
        lambda *arguments: net.apply(*arguments)[1],
        energy_function(net, spec),
        clip_local_energy=optim.clip_local_energy,
        clip_from_median=optim.clip_median,
        center_at_clipped_energy=optim.center_at_clip,
    )
    return kfac_jax.Optimizer(
        jax.value_and_grad(evaluate_loss, argnums=0, has_aux=True),
        l2_reg=optim.kfac.l2_reg,
        norm_constraint=optim.kfac.norm_constraint,
        value_func_has_aux=True,
        value_func_has_rng=True,
        learning_rate_schedule=lambda step: optim.lr.rate / (1 + step / optim.lr.delay),
        curvature_ema=optim.kfac.cov_ema_decay,
        inverse_update_period=optim.kfac.invert_every,
        min_damping=optim.kfac.min_damping,
        num_burnin_steps=0,
        estimation_mode="fisher_exact",
        multi_device=True,
        pmap_axis_name=constants.PMAP_AXIS_NAME,
        auto_register_kwargs={"graph_patterns": curvature_tags_and_blocks.GRAPH_PATTERNS},
    ), optim.kfac.damping


def iteration(net: Any, parameters: Any, spec: Spec) -> Evaluate:
    """Make a training iteration: ten moves, local energy, KFAC."""
    import jax
    import jax.numpy as jnp
    from ferminet import mcmc, train
    from kfac_jax import utils

    optimizer, damping = kfac(net, spec)
    sweep = mcmc.make_mcmc_step(batched(net), spec["walkers"], steps=10)
    step = train.make_kfac_training_step(sweep, damping, optimizer)
    parameters, data = utils.replicate_all_local_devices((parameters, data_of(spec)))
    width = utils.replicate_all_local_devices(jnp.asarray(MOVE_WIDTH))
    keys, key = utils.p_split(utils.make_different_rng_key_on_all_devices(jax.random.PRNGKey(SEED)))
    state = {"run": (data, parameters, optimizer.init(parameters, key, data)), "keys": keys}

    def evaluate() -> np.ndarray:
        state["keys"], key = utils.p_split(state["keys"])
        *run, loss, _, _ = step(*state["run"], key, width)
        state["run"] = jax.block_until_ready(run)
        return np.asarray(loss)

    return evaluate


WORKS = {
    "log_psi": log_psi,
    "local_energy": local_energy,
    "psiformer": local_energy,
    "iteration": iteration,
    "first_step": iteration,
}


def run() -> None:
    """Do the work of the order."""
    spec, channel = begin()
    import jax

    net = network(spec)
    parameters = net.init(jax.random.PRNGKey(SEED))
    count = sum(x.size for x in jax.tree.leaves(parameters))
    serve(spec, channel, WORKS[spec["work"]](net, parameters, spec), count, PACKAGES)


if __name__ == "__main__":
    run()
