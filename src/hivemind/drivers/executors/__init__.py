"""Engines that tasks may be handed to where people already have them: Slurm, Dask, Ray."""
