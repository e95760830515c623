"""A candidate earns its traffic: share by share, judged against the stable version beside it."""
