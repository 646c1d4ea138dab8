"""The report: what a run directory tells, read, drawn and written as one page."""
