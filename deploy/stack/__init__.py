"""A team's installation on one machine, without docker: every part a real one, each on loopback, each with a login.

PostgreSQL, Ceph's S3 gateway, MLflow's server, the sync sidecar, the model server, the reconciler and Prometheus, as
processes of whoever calls `python -m deploy.stack up`. All that they leave lies in one folder.
"""
