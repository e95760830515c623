"""What a cluster is told to serve a version: objects of Kubernetes and KServe, as dictionaries."""
