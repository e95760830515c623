"""A Kubernetes cluster that serves versions: what talks to its API server, and what it is told is in `kubernetes`."""
