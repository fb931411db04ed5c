"""Benchmarks: what is measured stands beside its floor, measured in the same run."""
