"""The efficiency ledger: parameters, storage, time and memory."""
