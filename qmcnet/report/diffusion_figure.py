"""A figure of energies of diffusion Monte Carlo against the time step."""

from typing import TYPE_CHECKING

from qmcnet.report.diffused import Diffused
from qmcnet.report.drawing import legend_above, new

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def draw_timesteps(found: Diffused) -> "Drawing":
    """Draw the energy at every time step, and what they extrapolate to.

    Args:
        found: the result.

    Returns:
        The figure.
    """
    drawing, (axes,) = new()
    points = [(point["timestep"], point["energy"], point["standard_error"]) for point in found.points]
    places, energies, errors = zip(*points, strict=True)
    axes.errorbar(places, energies, errors, fmt="o", capsize=3, label="diffusion Monte Carlo")
    if found.order:
        axes.errorbar(
            [0], [found.energy], [found.standard_error], fmt="s", capsize=3, color="C2", label="to time step 0"
        )
    if found.reference:
        axes.axhline(found.reference["energy"], linestyle="--", linewidth=1, color="C3", label="reference")
    if (energy := found.variational["energy"]) is not None:
        axes.axhline(energy, linestyle=":", linewidth=1, color="C1", label="wavefunction (VMC)")
    axes.set(xlabel="time step / hartree⁻¹", ylabel="energy / hartree", xlim=(-0.04 * max(places), 1.08 * max(places)))
    axes.locator_params(axis="x", nbins=5)
    axes.ticklabel_format(axis="y", useOffset=False)
    legend_above(axes)
    return drawing
