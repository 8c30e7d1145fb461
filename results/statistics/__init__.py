"""Intervals, tests and ranks over the records of a table."""
