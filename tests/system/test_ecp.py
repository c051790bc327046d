import pytest
import torch
from pyscf import gto, scf

from qmcnet.chemistry.scf import basis_sets, hartree_fock
from qmcnet.sampling import initial_positions
from qmcnet.system.ecp import Ecp
from qmcnet.system.ecp_sources import read_ecp, to_pyscf
from qmcnet.system.molecule import Molecule

FILE = """#BASIS of a comment
C nelec 2
C ul
1 14.43502 4.0
3 8.39889 57.74008
2 7.38188 -25.81955
C S
2 7.76079 5.213345d+1
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "carbon.ecp"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(("symbol", "n_core", "n_channels"), [("H", 0, 0), ("C", 2, 1), ("Si", 10, 2), ("Fe", 10, 2)])
def test_sets_are_those_of_pyscf_and_the_charge_that_is_left_cancels_at_the_nucleus(symbol, n_core, n_channels):
    found = read_ecp("ccecp", symbol)
    assert (found.n_core, len(found.channels), found.name) == (n_core, n_channels, "ccecp")
    charge = float(Molecule.atom(symbol).charges[0]) - n_core
    assert sum(c for n, _, c in found.local if n == 1) == pytest.approx(charge)


@pytest.mark.parametrize(
    "text",
    [FILE, FILE.replace("C ", "c "), f'BASIS "ao basis" PRINT\nC S\n 13.07 1.0\nEND\n\nECP # of C\n{FILE}END\n'],
)
def test_a_file_is_the_set_that_it_holds_and_has_its_basis(file, text):
    file.write_text(text)
    found = read_ecp(file, "C")
    assert found == read_ecp("ccecp", "C")
    file.write_text(text.replace("57.74008", "57.74"))
    own = read_ecp(file, "C")
    assert (own.n_core, own.name, own.channels) == (2, "", found.channels)
    assert own.local != found.local


@pytest.mark.parametrize("symbol", ["C", "Fe"])
def test_what_pyscf_is_given_is_what_it_gave(symbol):
    mol = gto.M(
        atom=f"{symbol} 0 0 0",
        basis={symbol: "ccecp-cc-pvdz"},
        ecp={symbol: to_pyscf(read_ecp("ccecp", symbol))},
        spin=4 - 2 * (symbol == "C"),
    )
    again = Molecule.from_pyscf(mol)
    first, second = dict(again.ecp)[symbol], read_ecp("ccecp", symbol)
    assert first == second


@pytest.mark.parametrize(
    ("symbol", "ecp", "basis"), [("Mg", "ccecp-he", "ccecp-he-cc-pvdz"), ("Be", "ccecp_reg", "ccecp-reg-cc-pvdz")]
)
def test_sets_of_smaller_cores_have_their_own_basis(symbol, ecp, basis):
    mol = gto.M(atom=symbol, basis=basis, ecp=ecp, verbose=0)
    molecule = Molecule.from_pyscf(mol)
    assert molecule == Molecule.atom(symbol).with_ecp(ecp)
    assert hartree_fock(molecule, method="rohf").energy == pytest.approx(scf.RHF(mol).run().e_tot, abs=1e-8)


@pytest.mark.parametrize("symbols", ["C", "NN"])
def test_hartree_fock_is_that_of_pyscf_in_the_matched_basis(symbols):
    place = [(symbol, (0.0, 0.0, 2.068 * i)) for i, symbol in enumerate(symbols)]
    molecule = Molecule(tuple(symbols), tuple(position for _, position in place), spin=2 * (len(symbols) == 1))
    mol = gto.M(atom=place, unit="bohr", basis="ccecp-cc-pvdz", ecp="ccecp", spin=molecule.spin, verbose=0)
    found = hartree_fock(molecule.with_ecp("ccecp"), method="rohf")
    assert found.energy == pytest.approx(scf.ROHF(mol).run().e_tot, abs=1e-8)


def test_elements_may_differ_and_bases_with_them():
    molecule = Molecule.diatomic("Li", "H", 3.015, "bohr").with_ecp({"Li": "ccecp"})
    mol = gto.M(
        atom=[("Li", (0, 0, 0)), ("H", (0, 0, 3.015))],
        unit="bohr",
        basis={"Li": "ccecp-cc-pvdz", "H": "cc-pvdz"},
        ecp={"Li": "ccecp"},
        verbose=0,
    )
    assert hartree_fock(molecule, method="rohf").energy == pytest.approx(scf.RHF(mol).run().e_tot, abs=1e-8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no potential for C in the format of NWChem"),
        (FILE.replace("C ", "N "), "has no potential for C in the format of NWChem"),
        (FILE.replace("57.74008", "many"), "line 5, '3 8.39889 many', is not of the format of NWChem"),
        (FILE.replace("57.74008", "__import__('os').getpid()"), "line 5, .* is not of the format of NWChem"),
        (FILE.replace("2 7.76079 5.213345d+1", "2 7.76079 52.1 0.3"), "spin-orbit terms"),
        (f"ecp\n{FILE}end\n\nso\nC p\n2 3.0 5.0\nend\n", "line 12, 'so', begins spin-orbit terms"),
        (FILE[FILE.index("C ul") :], "has no potential for C in the format of NWChem"),
        (FILE.replace("3 8.39889", "9 8.39889"), "line 5, .* is not of the format of NWChem"),
        (f"{FILE}C s\n2 7.76079 52.1\n", "has 'C s' more than once: leave one"),
        (
            "C 0\nQMC 1 2\nCOMMENT LINE\n3\n1 14.4 4.0\n",
            "'C 0', is of the format of Gaussian: give it in that of NWChem",
        ),
        ("****\nC 0\nC-ECP 1 2\n", r"line 1, '\*\*\*\*', is not of the format of NWChem"),
        ("C-ccECP GEN 2 1\n3\n4.0 1 14.4\n", "is of the format of GAMESS: give it in that of NWChem"),
        ("ecp,C,2,1,0\n3;\n1,14.4,4.0\n", "is of the format of Molpro: give it in that of NWChem"),
        ('<?xml version="1.0"?>\n', "is of the format of XML or UPF: give it in that of NWChem"),
        ("\0\1", "is not of the format|no file to be read"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_and_executes_nothing(file, text, message):
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_ecp(file, "C")


@pytest.mark.parametrize(
    ("ecp", "message"),
    [
        ("ccecq", "ecp='ccecq' has no potential for C: try ccecp or bfd, or name a file"),
        ("nowhere/c.ecp", "ecp=nowhere/c.ecp is no name of a set, and no file to be read"),
        ({"N": "ccecp"}, "ecp names N, and the molecule has C"),
        (3, "ecp=3 must be a set, a file, or one of these for each element"),
        ({"C": {"n_core": 3, "local": []}}, "n_core=3 must be the number of electrons of closed shells"),
        ({"C": Ecp(6, ())}, "6 core electrons leave C a charge of 0"),
        ({"C": {"n_core": 2, "local": [[1, -2.0, 3.0]]}}, "must have n >= 0 and"),
        ({"C": {"n_core": 2, "local": [[1, float("nan"), 4.0]]}}, "must be finite"),
        ({"C": {"n_core": 2, "local": [[1.5, 1.0, 4.0]]}}, "must be finite, and their n whole numbers"),
        ({"C": {"n_core": 2}}, "is no set, no file, and not n_core, local, channels"),
        ({"C": 5}, "ecp of C: 5 is no set"),
        ("x" * 5000, "is no name of a set"),
        ("", "is no name of a set"),
        ("stuttgart", "goes to infinity at the nucleus, which is not supported: try ccecp or bfd"),
        ("He nelec 0\nHe ul\n2 [1, 2][1] 1\n", "is no name of a set"),
    ],
)
def test_a_slip_is_answered_in_one_line(ecp, message):
    with pytest.raises(ValueError, match=message):
        Molecule.atom("C").with_ecp(ecp)


def test_electrons_charges_and_spins_are_those_that_are_left():
    iron = Molecule.atom("Fe").with_ecp("ccecp")
    assert (iron.n_electrons, iron.n_up, iron.n_down, iron.charges.tolist()) == (16, 10, 6, [16.0])
    assert iron.point_charges.tolist() == [0.0]
    assert "Fe: ccecp for 10 core electrons" in iron.summary()
    mixed = Molecule.diatomic("C", "O", 2.1, "bohr").with_ecp({"O": "ccecp", "C": None})
    assert (mixed.cores, mixed.point_charges.tolist(), mixed.n_electrons) == ((0, 2), [6.0, 0.0], 12)
    assert mixed.with_ecp(None) == Molecule.diatomic("C", "O", 2.1, "bohr")


def test_the_matched_basis_has_diffuse_functions_for_anions_and_one_that_is_typed_is_taken():
    anion = Molecule.atom("C", charge=-1, spin=3).with_ecp("ccecp")
    found = hartree_fock(anion, method="rohf")
    assert (found.basis, found.orbitals.basis.n_ao) == ("aug-matched", 22)
    carbon = Molecule.atom("C").with_ecp("cc-ECP")
    assert hartree_fock(carbon).orbitals.basis.n_ao == 13
    assert hartree_fock(carbon, "cc-pvtz").orbitals.basis.n_ao == 30
    assert hartree_fock(Molecule.atom("K").with_ecp("ccecp")).converged
    mixed = Molecule.diatomic("Li", "H", 3.015, "bohr").with_ecp({"Li": "ccecp"})
    assert basis_sets(mixed, "matched") == "ccecp-cc-pvdz (Li), cc-pvdz (H)"
    assert basis_sets(carbon, "matched") == "ccecp-cc-pvdz"
    assert basis_sets(carbon, "cc-pvtz") == "cc-pvtz"


@pytest.mark.parametrize("spin", [0, 4, 8])
@pytest.mark.parametrize("charge", [-2, 0, 2])
def test_as_many_electrons_are_placed_as_are_left(spin, charge):
    molecule = Molecule.diatomic("Na", "Cl", 4.5, "bohr", charge=charge, spin=spin if charge < 2 else 0).with_ecp(
        "ccecp"
    )
    for n in (1, 4):
        placed = initial_positions(molecule, n, torch.Generator().manual_seed(0), torch.float64, "cpu")
        assert placed.shape == (n, molecule.n_electrons, 3)


def test_the_width_is_that_of_the_widest_gaussian_that_counts():
    local, narrow, nothing = ((2, 4.0, 1.0),), ((2, 16.0, 3.0),), ((2, 0.01, 0.0),)
    assert Ecp(2, local, (narrow, nothing)).width == pytest.approx(0.25)
    assert Ecp(2, local, (nothing,)).width == pytest.approx(0.5)
    assert Ecp(2, local, (narrow, ((2, 1.0, 2.0),))).width == pytest.approx(1.0)
