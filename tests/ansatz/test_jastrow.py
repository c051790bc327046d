from qmcnet.ansatz.cusp import ElectronCusp
from qmcnet.ansatz.jastrow import JASTROWS
from qmcnet.ansatz.neural_jastrow import NeuralJastrow
from qmcnet.system.molecule import Molecule


def test_factors_are_made_by_name():
    assert sorted(JASTROWS) == ["cusp", "neural", "none"]
    assert JASTROWS["none"](Molecule.atom("Li")) is None
    assert isinstance(JASTROWS["cusp"](Molecule.atom("Li")), ElectronCusp)
    assert isinstance(JASTROWS["neural"](Molecule.atom("Li")), NeuralJastrow)
