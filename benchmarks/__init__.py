"""Benchmarks: what is measured stands beside its floor and its peers, measured in the same run."""
