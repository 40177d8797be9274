"""Goals that take minutes to show, each one command: `python -m bench.soak GOAL --seconds N`."""
