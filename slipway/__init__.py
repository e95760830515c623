"""What pipeline, registry and serving share: errors, names, durable files. Imports none of them."""
