# MLflow's server with its login, PostgreSQL's driver and S3; the versions are those that the tests run.
FROM python:3.11-slim-bookworm
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY requirements/uv.txt requirements/dev.txt /requirements/
RUN pip install --no-cache-dir --require-hashes -r /requirements/uv.txt \
    && uv pip install --system --no-cache --constraint /requirements/dev.txt \
        "mlflow[auth]" "psycopg[binary]" boto3
COPY deploy/from-files.sh /from-files.sh
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["/from-files.sh"]
