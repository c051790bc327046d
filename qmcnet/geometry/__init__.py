"""Geometries: points of the energy surface, a model of it, structures at rest and their vibrations."""
