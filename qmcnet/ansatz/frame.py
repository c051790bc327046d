"""The geometry at which a network sees its electrons: where it was trained, when its nuclei have moved since.

A network knows how its electrons are placed about the nuclei where these were in training, and nothing of what changes
when they move. So a trained network is carried along: it sees the vectors to the nuclei that an electron had before the
nuclei took it along, by the weights of the space warp. Near each nucleus these are the vectors to where it is now, so
that cusps stay; electrons see each other where they are. Of water with core potentials, trained for long, whose nuclei
moved by 0.17 bohr this starts 5 mHa above the energy, where the same parameters without it start 1.7 hartree above.

Letters: B walkers, N electrons, A nuclei.
"""

from typing import Any

import torch
from torch import Tensor, nn

from qmcnet.ansatz.features import Features, features
from qmcnet.system.molecule import Molecule
from qmcnet.system.warp import strain, warp_weights

LEAST_STRAIN, MOST_STRAIN = 1e-9, 0.5
"""Of the map of the electrons: below the first nuclei have moved alike; it is one to one below 1, and nuclei that moved
farther than the second are seen to move by the rest."""


class Frame(nn.Module):
    """Features of electrons, seen at the geometry of a training where there was one elsewhere."""

    charges: Tensor
    nuclei: Tensor | None

    def __init__(self, molecule: Molecule) -> None:
        """See electrons where they are.

        Args:
            molecule: the system.
        """
        super().__init__()
        self.molecule = molecule
        self.register_buffer("charges", molecule.charges.double(), persistent=False)
        self.register_buffer("nuclei", None)

    def forward(self, positions: Tensor, nuclei: Tensor) -> Features:
        """Compute the vectors and distances a network starts from.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr.
            nuclei: nuclear positions, shape (A, 3), in bohr.

        Returns:
            Electron-nucleus and electron-electron vectors and distances.

        Raises:
            ValueError: for another number of electrons or of coordinates.
        """
        if self.nuclei is None:
            return features(positions, nuclei, self.molecule)
        now, seen = nuclei.to(positions.dtype), self.nuclei.to(positions.dtype)
        moved = positions - warp_weights(positions, now, self.charges) @ (now - seen)
        return features(positions, seen, self.molecule, moved)

    def carry(self, seen: Tensor, nuclei: Tensor) -> None:
        """See electrons at another geometry, or on the way to it as far as the map of the electrons stays one to one.

        Args:
            seen: where the nuclei were in training, shape (A, 3), in bohr.
            nuclei: where they are, shape (A, 3), in bohr.
        """
        found = strain(seen.double(), nuclei.double(), self.charges.double().to(nuclei.device))
        share = min(1.0, MOST_STRAIN / max(found, LEAST_STRAIN))
        self.nuclei = (nuclei + share * (seen - nuclei)).to(self.charges) if found > LEAST_STRAIN else None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        found = state_dict.get(f"{prefix}nuclei")
        self.nuclei = None if found is None else torch.empty_like(found, device=self.charges.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)
