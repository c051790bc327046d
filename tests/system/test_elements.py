import pytest
from pyscf.data.elements import CONFIGURATION, ELEMENTS

from qmcnet.system.elements import SYMBOLS, atomic_number, chemical_formula, ground_state_spin, shells

NUMBERS = range(1, 37)


def test_symbols_are_in_the_order_of_the_periodic_table():
    assert list(SYMBOLS) == ELEMENTS[1:37]


@pytest.mark.parametrize("name", ["Li", "li", "LI", " li "])
def test_atomic_number_ignores_case_and_blanks(name):
    assert atomic_number(name) == 3


def test_unknown_symbol_names_the_value_and_close_matches():
    with pytest.raises(ValueError, match=r"symbol='Lix'.*did you mean .*Li"):
        atomic_number("Lix")
    for strange in ("", "Qq", "U", "X1"):
        with pytest.raises(ValueError, match=f"symbol='{strange}'"):
            atomic_number(strange)
    with pytest.raises(ValueError, match="symbol=6 "):
        atomic_number(6)


@pytest.mark.parametrize("number", NUMBERS)
def test_ground_state_spin_follows_hund_in_the_configuration_of_the_ground_state(number):
    unpaired = 0
    for electrons, capacity in zip(CONFIGURATION[number], (2, 6, 10, 14), strict=True):
        outer = electrons % capacity
        unpaired += min(outer, capacity - outer)
    assert ground_state_spin(number) == unpaired


def test_ions_of_up_to_18_electrons_have_the_spin_of_the_isoelectronic_atom():
    assert ground_state_spin(6, charge=1) == ground_state_spin(5) == 1
    assert ground_state_spin(8, charge=-1) == ground_state_spin(9) == 1
    assert ground_state_spin(26, charge=8) == 0


@pytest.mark.parametrize(("number", "charge", "message"), [(26, 2, "Fe with charge=2"), (1, 1, "charge=1 leaves 0")])
def test_ions_without_a_known_ground_state_are_refused(number, charge, message):
    with pytest.raises(ValueError, match=message):
        ground_state_spin(number, charge)


@pytest.mark.parametrize("number", [0, 37, -1])
def test_atomic_number_out_of_range_is_refused(number):
    for function in (ground_state_spin, shells):
        with pytest.raises(ValueError, match=rf"number={number}.*1\.\.36"):
            function(number)


@pytest.mark.parametrize("number", NUMBERS)
def test_shells_hold_all_electrons_with_decreasing_effective_charge(number):
    groups = shells(number)
    assert sum(shell.electrons for shell in groups) == number
    charges = [shell.zeta * {4: 3.7}.get(shell.n, shell.n) for shell in groups]
    assert charges == sorted(charges, reverse=True)
    assert min(charges) >= 1.0


def test_effective_charges_of_iron_are_those_of_slater():
    expected = [(1, 25.70, 2), (2, 21.85, 8), (3, 14.75, 8), (3, 6.25, 6), (4, 3.75, 2)]
    for shell, (n, effective_charge, electrons) in zip(shells(26), expected, strict=True):
        assert (shell.n, shell.electrons) == (n, electrons)
        assert shell.zeta == pytest.approx(effective_charge / (3.7 if n == 4 else n), rel=1e-12)


def test_chromium_and_copper_promote_a_4s_electron():
    assert [shell.electrons for shell in shells(24)] == [2, 8, 8, 5, 1]
    assert [shell.electrons for shell in shells(29)] == [2, 8, 8, 10, 1]


def test_every_element_has_its_place_in_a_formula():
    for symbol in SYMBOLS:
        assert chemical_formula([symbol, symbol]) == f"{symbol}2"


@pytest.mark.parametrize(
    ("symbols", "charge", "formula"),
    [
        ("C C H H H O H H H", 0, "C2H6O"),
        ("H Li", 0, "LiH"),
        ("H H H N", 0, "NH3"),
        ("O H H", 0, "H2O"),
        ("H He", 1, "HeH+"),
        ("Kr F F", 0, "KrF2"),
        ("Cl C H C", 0, "C2HCl"),
        ("O H H H", 1, "H3O+"),
        ("O", -2, "O(2-)"),
        ("Cl", -1, "Cl-"),
        ("H", 0, "H"),
    ],
)
def test_formula_is_written_as_chemists_do(symbols, charge, formula):
    assert chemical_formula(symbols.split(), charge) == formula
