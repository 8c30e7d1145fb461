"""One module per verb of the command line; `__main__` imports the one that was asked for."""
