"""Does diffusion Monte Carlo find the energy of hydrogen, -1/2 hartree, from a guide that is far from it?

The guide is the best Gaussian, exp(-(8 / 9 pi) r^2), with an energy of -0.4244 hartree and a local energy that diverges
as -1/r at the nucleus, where it lacks the cusp: time steps have to be small.

    python benchmarks/hydrogen.py [--walkers 20000] [--time 60] [--timesteps 0.008 0.004 0.002]
"""

import argparse
import math

import torch
from torch import Tensor

from qmcnet.diffusion import Branching, DriftDiffusion, Guided, Population
from qmcnet.statistics.extrapolation import to_zero
from qmcnet.statistics.mixed import equilibrated

EXPONENT = 8 / (9 * math.pi)
EXACT, WINDOW, SETTLING = -0.5, 5.0, 5.0
"""Energy in hartree; imaginary times, in 1/hartree, over which weights count and after which averages begin."""


def gaussian(positions: Tensor) -> Guided:
    """Evaluate the guide."""
    squares = positions.square().sum((-2, -1))
    energy = 3 * EXPONENT - 2 * EXPONENT**2 * squares - squares.rsqrt()
    sign = torch.ones_like(energy)
    hops = positions.new_zeros(len(positions), 0, 4)
    return Guided(positions, sign, -EXPONENT * squares, -2 * EXPONENT * positions, energy, energy[:, None], hops)


def diffuse(population: Population, timestep: float, time: float) -> tuple[float, float]:
    """Diffuse at one time step.

    Args:
        population: the walkers.
        timestep: imaginary time of a step, in 1/hartree.
        time: imaginary time in all.

    Returns:
        Energy and its standard error, in hartree.
    """
    device = torch.device("cpu")
    nucleus = torch.zeros(1, 3, dtype=torch.float64, device=device)
    move = DriftDiffusion(gaussian, nucleus, torch.ones(1, dtype=torch.float64, device=device))
    population.restart()
    rows = []
    for _ in range(round((SETTLING + time) / timestep)):
        generation = population.advance(move, Branching(EXACT, 1, timestep))
        rows.append((generation.energy.item(), generation.log_weight.item()))
    energies, weights = zip(*rows[round(SETTLING / timestep) :], strict=True)
    _, found = equilibrated(energies, weights, math.ceil(WINDOW / timestep))
    return found.mean, found.standard_error


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--walkers", type=int, default=20000)
    parser.add_argument("--time", type=float, default=60.0)
    parser.add_argument("--timesteps", type=float, nargs="+", default=[0.008, 0.004, 0.002])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    width = (4 * EXPONENT) ** -0.5  # of the square of the guide
    positions = width * torch.randn(arguments.walkers, 1, 3, dtype=torch.float64, generator=generator)
    population, found = Population(gaussian(positions), generator), []
    for timestep in arguments.timesteps:
        found.append(diffuse(population, timestep, arguments.time))
        print(f"timestep {timestep:g}: {found[-1][0]:.6f} +- {found[-1][1]:.6f} hartree", flush=True)
    energies, errors = zip(*found, strict=True)
    zero = to_zero(arguments.timesteps, energies, errors)
    print(f"none: {zero.value:.6f} +- {zero.error:.6f} hartree (order {zero.order}, chi^2 {zero.chi2:.1f})")


if __name__ == "__main__":
    main()
