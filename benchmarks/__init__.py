"""Benchmarks: each compares times or errors within one run; none of them is a test."""
