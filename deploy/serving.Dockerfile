# The embedded model server for variants that OpenVINO runs: neither TensorFlow nor MLflow, 10001 as its user, no writes.
FROM python:3.11-slim-bookworm AS build
COPY requirements/uv.txt requirements/serving-openvino.txt /requirements/
RUN pip install --no-cache-dir --require-hashes -r /requirements/uv.txt \
    && uv venv --python python3.11 /environment \
    && uv pip install --python /environment/bin/python --no-cache --compile-bytecode --no-deps --require-hashes \
        -r /requirements/serving-openvino.txt

FROM python:3.11-slim-bookworm
ENV PATH=/environment/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /environment /environment
WORKDIR /slipway
COPY slipway slipway
COPY serving serving
USER 10001:10001
EXPOSE 8500 8501
# 503 until each model has a version that has answered: Kubernetes has probes of its own and heeds no HEALTHCHECK.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/healthz', timeout=4)"]
# Whoever gives it other arguments says by TLS and tokens, or by --insecure, who may ask: it refuses to start otherwise.
ENTRYPOINT ["python", "-m", "serving.model_server"]
CMD ["--host=0.0.0.0", "--port=8500", "--rest_api_port=8501", "--model_config_file=/base/labels.config", \
    "--default_label=stable", "--runtime=auto", "--access_tokens_file=/run/secrets/access-tokens"]
