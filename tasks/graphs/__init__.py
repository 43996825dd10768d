"""Graphs whose vertices are the samples: adjacency lists, local diffusion and PageRank from a seed vertex."""
