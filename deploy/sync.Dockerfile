# The sync sidecar: neither TensorFlow nor MLflow.
FROM python:3.11-slim-bookworm
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /slipway
COPY requirements/uv.txt requirements/sync.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/uv.txt \
    && uv pip install --system --no-cache --no-deps --require-hashes -r requirements/sync.txt
COPY slipway slipway
COPY serving serving
USER 10001:10001
ENTRYPOINT ["python", "-m", "serving.sync"]
