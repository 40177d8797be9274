"""Bytes that nobody meant: targets for a fuzzer, and the inputs that are worth keeping."""
