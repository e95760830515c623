"""How long it takes from a promotion in MLflow's registry to the first answer of the new version."""
