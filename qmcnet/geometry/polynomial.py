"""Energies as polynomials of displacements, with what is expected of their coefficients.

E(q) = e0 + g q + q H q / 2 + cubic and quartic terms of one or two coordinates, in directions in which the expected
Hessian is diagonal, with force constants k. How large terms are is told by a Morse potential with the exponent a: its
third, fourth and fifth derivatives are 3 a k, 7 a^2 k and 15 a^3 k.

Letters: n coordinates, p coefficients, m places.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from math import factorial, prod

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Term = tuple[int, ...]
"""A monomial: the numbers of its coordinates, as often as they occur."""

MORSE = 1.4
"""Exponent a, in 1/bohr, per length of the displacements of all nuclei: 1/bohr for a bond of two, as of H2."""
GRADIENT = 0.3
"""Expected size of the gradient, in hartree/bohr."""
CUBIC, QUARTIC, QUINTIC = 3 * MORSE, 7 * MORSE**2, 15 * MORSE**3
"""Derivatives over the force constant."""


def derived(term: Term) -> Iterator[tuple[int, int, Term]]:
    """Differentiate a monomial: coordinate, factor and what is left, of each coordinate in it."""
    for i in dict.fromkeys(term):
        place = term.index(i)
        yield i, term.count(i), term[:place] + term[place + 1 :]


@dataclass(frozen=True)
class Polynomial:
    """Monomials of n coordinates, and how large their coefficients may be.

    Attributes:
        constants: sizes of the expected force constants, shape (n,), in hartree/bohr^2.
        width: how far the Hessian may be off, as a share of these.
        curvature: the expected force constants, shape (n,), negative where the surface should fall to both sides.
    """

    constants: Array
    width: float
    curvature: Array

    @cached_property
    def terms(self) -> list[Term]:
        """Monomials, p of them, from the constant on."""
        n = range(len(self.constants))
        lower = [term for degree in range(4) for term in combinations_with_replacement(n, degree)]
        few = [term for term in lower if len({*term}) <= 2]
        return few + [(i, i, j, j) for i, j in combinations_with_replacement(n, 2)]

    def expected(self) -> tuple[Array, Array]:
        """Expect values of the coefficients; the constant may be anything within a hartree.

        Couplings of the vibrations of a mean field are expected to be smaller the more there are, so that all of them
        together leave a minimum one: against coupled clusters they were .02 of force constants, and .07 at most.

        Returns:
            Means and standard deviations, each (p,).
        """
        means, widths = [0.0], [1.0]
        for term in self.terms[1:]:
            size = float(np.exp(np.log(self.constants[list(term)]).mean()))
            share = self.width if len({*term}) == 1 else self.width / np.sqrt(2 * len(self.constants))
            derivative = {1: GRADIENT, 2: share * size, 3: CUBIC * size, 4: QUARTIC * size}[len(term)]
            widths.append(derivative / prod(factorial(term.count(i)) for i in {*term}))
            means.append(self.curvature[term[0]] / 2 if len(term) == 2 and len({*term}) == 1 else 0.0)
        return np.array(means), np.array(widths)

    def values(self, places: Array) -> Array:
        """Evaluate all monomials.

        Args:
            places: shape (m, n), in bohr.

        Returns:
            Shape (m, p).
        """
        return np.stack([np.prod(places[:, term], -1) for term in self.terms], -1)

    def slopes(self, places: Array) -> Array:
        """Differentiate all monomials.

        Args:
            places: shape (m, n), in bohr.

        Returns:
            Shape (m, n, p).
        """
        found = np.zeros((*places.shape, len(self.terms)))
        for number, term in enumerate(self.terms):
            for i, factor, rest in derived(term):
                found[:, i, number] = factor * np.prod(places[:, rest], -1)
        return found

    def gradient(self, place: Array, coefficients: Array) -> Array:
        """Differentiate a polynomial.

        Args:
            place: shape (n,), in bohr.
            coefficients: shape (..., p).

        Returns:
            Shape (..., n), in hartree/bohr.
        """
        return np.asarray(coefficients @ self.slopes(place[None])[0].T)

    def hessian(self, place: Array, coefficients: Array) -> Array:
        """Differentiate a polynomial twice.

        Args:
            place: shape (n,), in bohr.
            coefficients: shape (..., p).

        Returns:
            Shape (..., n, n), in hartree/bohr^2.
        """
        found = np.zeros((*coefficients.shape[:-1], len(place), len(place)))
        for number, term in enumerate(self.terms):
            for i, factor, rest in derived(term):
                for j, further, left in derived(rest):
                    found[..., i, j] += coefficients[..., number] * factor * further * np.prod(place[list(left)])
        return found

    def left_out(self, places: Array) -> tuple[Array, Array]:
        """Estimate what terms of fifth order give, which the polynomial has not.

        Args:
            places: shape (m, n), in bohr.

        Returns:
            Energies and slopes, each (m,), in hartree and hartree/bohr.
        """
        length = np.linalg.norm(places, axis=-1)
        slope = QUINTIC / 24 * np.linalg.norm(self.constants * places, axis=-1) * length**3
        return slope * length / 5, slope
