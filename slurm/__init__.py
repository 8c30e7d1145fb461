"""Sweeps on a Slurm cluster, through submitit. Imported by `benchmark.commands` only, lazily."""
