"""Reads records, makes tables and figures. Knows nothing of torch or of training."""

from results.reporting import Options, Report, report

__all__ = ["Options", "Report", "report"]
