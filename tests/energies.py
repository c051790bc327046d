"""Local energies of bare networks, which tests want often."""

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
