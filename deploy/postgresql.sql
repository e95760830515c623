-- Run once, by the image, as the owner: a role with its databases for MLflow, and one for Slipway.
\set mlflow `cat /run/secrets/postgresql-mlflow`
\set slipway `cat /run/secrets/postgresql-slipway`
SET log_min_error_statement = panic; -- an error would log the statement, and the password with it
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE ROLE slipway LOGIN PASSWORD :'slipway';
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_login OWNER mlflow;
CREATE DATABASE slipway OWNER slipway;
REVOKE ALL ON DATABASE mlflow, mlflow_login, slipway FROM PUBLIC;
