"""What Prometheus is told of the life cycle: `slipway reconcile --watch --metrics-port N`."""
