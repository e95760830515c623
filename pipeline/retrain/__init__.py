"""Whether to train again, and a retraining that never makes worse what is live."""
