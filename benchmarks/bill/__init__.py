"""What requests and images cost: measured on this machine, and multiplied: `python -m benchmarks.bill --help`."""
