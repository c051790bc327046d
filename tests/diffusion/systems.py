"""Guides in closed form for systems that are solved exactly: (B, N, 3) to what is known there."""

import torch

from qmcnet.diffusion import DriftDiffusion, Guided, OneByOne, Population

DOUBLE = torch.float64


def guided(positions, log_abs, drift, energy, sign=None):
    sign = torch.ones(len(positions), dtype=DOUBLE) if sign is None else sign
    return Guided(positions, sign, log_abs, drift, energy, energy[:, None], drift[:, :0, :1].repeat(1, 1, 4))


def hydrogen(zeta):
    """exp(-zeta r) at a proton, exact at zeta = 1."""

    def guide(positions):
        vector = positions[:, 0].double()
        distance = vector.norm(dim=-1)
        energy = -0.5 * (zeta**2 - 2 * zeta / distance) - 1 / distance
        return guided(positions, -zeta * distance, (-zeta * vector / distance[:, None])[:, None], energy)

    return guide


def trap(width):
    """N distinguishable particles in a harmonic trap, exact at width = 1 with an energy of 3/2 each."""

    def guide(positions):
        r = positions.double()
        squares = r.square().sum((-2, -1))
        energy = 0.5 * (3 * r.shape[1] * width - width**2 * squares) + 0.5 * squares
        return guided(positions, -width * squares / 2, -width * r, energy)

    return guide


def fermions(width):
    """Two fermions of one spin in a harmonic trap, with the exact node x_1 = x_2; exact at width = 1: energy 4."""

    def guide(positions):
        r = positions.double()
        squares, gap = r.square().sum((-2, -1)), r[:, 0, 0] - r[:, 1, 0]
        drift = -width * r
        drift[:, 0, 0] += 1 / gap
        drift[:, 1, 0] -= 1 / gap
        energy = 0.5 * (8 * width - width**2 * squares) + 0.5 * squares
        return guided(positions, gap.abs().log() - width * squares / 2, drift, energy, gap.sign())

    return guide


def population(guide, n_walkers, n_electrons=1, seed=0, one_by_one=False):
    """Walkers about the origin, and what moves them."""

    def slope(positions):
        found = guide(positions)
        return found.sign, found.log_abs, found.drift

    generator = torch.Generator().manual_seed(seed)
    positions = torch.randn(n_walkers, n_electrons, 3, dtype=DOUBLE, generator=generator)
    nucleus = torch.zeros(1, 3, dtype=DOUBLE) if guide.__qualname__.startswith("hydrogen") else torch.full((1, 3), 1e3)
    how = (guide, nucleus.double(), torch.ones(1, dtype=DOUBLE))
    move = OneByOne(*how, slope) if one_by_one else DriftDiffusion(*how)
    return Population(guide(positions), generator), move
