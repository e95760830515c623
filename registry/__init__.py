"""What is approved and what is live: MLflow's model registry, the gate before it and the ledger behind it."""
