"""Where cells are trained: in this process, in local workers; signals and progress."""
