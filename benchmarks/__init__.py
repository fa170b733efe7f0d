"""What is measured, and never asserted on time: each module is `python -m benchmarks.NAME`."""
