#!/bin/sh
# For each variable X_FROM: X is what that file says. So no secret stands in compose.yaml, or in `docker inspect`.
set -eu
for name in $(env | sed -n 's/^\([A-Z0-9_]*\)_FROM=.*/\1/p'); do
    eval "file=\$${name}_FROM"
    value=$(cat "$file")
    export "$name=$value"
    unset "${name}_FROM"
done
exec "$@"
