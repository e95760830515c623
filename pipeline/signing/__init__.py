"""Who signs, and who is trusted: what the configuration's section `signing` says, as objects."""
