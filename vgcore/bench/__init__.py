"""Benchmarks: one table of operations, timed beside what a user would otherwise write."""
