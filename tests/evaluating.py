"""Local energies of bare networks, which tests want often."""

import torch
from torch import nn

from qmcnet import MolecularHamiltonian, NaturalStates, states_at


def sampled(network, kind=NaturalStates):
    """Make a network the sampled function that optimisers and samplers see; one that is stays as it is."""
    return network if hasattr(network, "factors") else kind(network)


def states_of(network, positions, laplacian=None, generator=None, kind=NaturalStates):
    """Evaluate the states of a network at positions (B, S N, 3)."""
    return states_at(sampled(network, kind), positions, laplacian, generator)


def local_energy(network, positions, laplacian=None, terms=(), kind=NaturalStates):
    """Evaluate the local energy of a network at positions (B, S N, 3)."""
    return MolecularHamiltonian(network.molecule, terms)(states_of(network, positions, laplacian, kind=kind))


class Toy(nn.Module):
    """What optimisers need of a sampled function, made of sign and log|psi|, each (B,), at positions (B, N, 3)."""

    nuclei = torch.zeros(1, 3)
    factors = NaturalStates.factors


class Formula(nn.Module):
    """A network that is a function of the positions alone, of sign and log|psi|."""

    def __init__(self, function, molecule):
        super().__init__()
        self.function, self.molecule = function, molecule
        self.unused = nn.Parameter(torch.zeros(1, dtype=torch.float64))  # networks have parameters

    def forward(self, positions, nuclei=None):
        return self.function(positions)
