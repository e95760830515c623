# Training and all other steps as jobs of a cluster: what requirements/pipeline.txt locks, and the client of Kubernetes.
FROM python:3.11-slim-bookworm AS build
COPY requirements/uv.txt requirements/pipeline.txt requirements/kubernetes.txt /requirements/
RUN pip install --no-cache-dir --require-hashes -r /requirements/uv.txt \
    && uv venv --python python3.11 /environment \
    && uv pip install --python /environment/bin/python --no-cache --compile-bytecode --no-deps --require-hashes \
        -r /requirements/pipeline.txt -r /requirements/kubernetes.txt
WORKDIR /slipway
COPY pyproject.toml README.md LICENSE ./
COPY slipway slipway
COPY registry registry
COPY serving serving
COPY pipeline pipeline
RUN uv pip install --python /environment/bin/python --no-cache --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
# HOME and Matplotlib's cache in /tmp, the one place besides the volumes that need be writable.
ENV PATH=/environment/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
COPY --from=build /environment /environment
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["slipway"]
CMD ["--help"]
