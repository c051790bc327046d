"""Runs to make pages of, and what a page is made of, as a parser of HTML sees it."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import torch
import yaml

from qmcnet.operators.density import DensityGrid
from qmcnet.report.diffused import Diffused
from qmcnet.system.molecule import Molecule


class Page(HTMLParser):
    """Collects tags, attributes and visible text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.scripts, self.words, self.inside = [], [], [], [], []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        self.inside += [tag] * (tag in ("script", "style"))

    def handle_endtag(self, tag):
        if self.inside and tag == self.inside[-1]:
            self.inside.pop()

    def handle_data(self, data):
        {"script": self.scripts, "style": []}.get(self.inside[-1] if self.inside else "", self.words).append(data)

    def values(self, *names):
        return [value for _, name, value in self.attributes if name in names]


GOLDEN = Path(__file__).parent / "golden" / "0.1"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> $x_{$ {{7*7}}"
"""Text that is code to a page that takes it as it is, a formula to a figure, and a command to a template."""


def molecular(directory, source):
    """Copy a run, and let it be one of water."""
    shutil.copytree(source, directory)
    config = yaml.safe_load((directory / "config.yaml").read_text())
    coordinates = [[0.0, 0.0, 0.0], [0.0, 1.43, 1.1], [0.0, -1.43, 1.1]]
    config["system"] |= {"symbols": ["O", "H", "H"], "coordinates": coordinates, "charge": 0, "spin": 0}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    return directory


def diffused(directory, name="timesteps=0.02,0.01"):
    """Put a result of diffusion Monte Carlo into a run directory."""
    shares = {"variance": 0.1, "accepted": 0.9, "crossed": 0.001, "generations": 100, "correlation_time": 0.02}
    points = [
        {"timestep": step, "energy": -2.9 - step, "standard_error": 1e-3, "stationary": step < 0.02, "reason": why}
        | shares
        for step, why in ((0.02, "it drifts"), (0.01, ""))
    ]
    found = Diffused(
        energy=-2.9,
        standard_error=2e-3,
        order=1,
        chi2=0.0,
        freedom=0,
        walkers=64,
        points=points,
        observables={"spin": {"s_squared": {"mixed": {"value": 0.5, "error": 0.1}}}},
        variational={"energy": -2.89, "standard_error": 1e-3, "variance": 0.1},
        reference=None,
        wall_seconds=3.0,
        metadata={"formula": "He", "observables": ["spin"]},
    )
    folder = directory / "dmc" / name
    folder.mkdir(parents=True)
    found.store(folder)
    return found, folder / "result.json"


def excited(directory):
    """Let the result of a run be one of three states, with histograms and densities."""
    content = json.loads((directory / "result.json").read_text())
    (state,) = content["states"]
    histogram = {
        f"{kind} {place:.4g}": {"value": place * (3 - place), "error": 0.05}
        for kind in ("equal", "opposite")
        for place in (0.5, 1.5, 2.5)
    }
    energy = state["energy"]["value"]
    content["states"] = [
        state
        | {"energy": {"value": energy + 0.1 * number, "error": 1e-3}, "pair": histogram, "radial": histogram}
        | {"excitation_ev": {"value": 2.72 * number, "error": 0.03}, "multiplicity": ("singlet", "triplet")[number % 2]}
        for number in range(3)
    ]
    content["overlaps"] = [[1.0 * (i == j) for j in range(3)] for i in range(3)]
    (directory / "result.json").write_text(json.dumps(content))
    molecule = Molecule.diatomic("He", "H", 1.5, "bohr", charge=1)
    grid = DensityGrid.around(molecule, spacing=1.0)
    x, y, z = torch.meshgrid(*(torch.arange(size) * 1.0 for size in grid.shape), indexing="ij")
    grid.write_cube(directory / "density_0.cube", molecule, x + 2 * y + 3 * z, "counted")
