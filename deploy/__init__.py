"""Where Slipway runs: by `docker compose`, and as processes of one machine."""
