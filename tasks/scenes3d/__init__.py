"""Synthetic and scanned scenes: solids, cameras, points, super-voxels."""
