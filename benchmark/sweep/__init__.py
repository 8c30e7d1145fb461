"""What is to be done: grids, suites, the plan on disk, estimates, claims."""
