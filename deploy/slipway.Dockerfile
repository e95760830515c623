# The reconciler, the model server, and what prepares the others: everything that Slipway needs, as it is locked.
FROM python:3.11-slim-bookworm
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /slipway
COPY requirements/uv.txt requirements/pipeline.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/uv.txt \
    && uv pip install --system --no-cache --no-deps --require-hashes -r requirements/pipeline.txt
COPY pyproject.toml README.md LICENSE ./
COPY slipway slipway
COPY registry registry
COPY serving serving
COPY pipeline pipeline
COPY deploy deploy
RUN uv pip install --system --no-cache --no-deps --no-build-isolation . && install -d -m 1777 /work
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["/slipway/deploy/from-files.sh"]
