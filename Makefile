# Each target makes the environment that it needs; PYTHON names a Python 3.11.
PYTHON ?= python3.11
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
.PHONY: quickstart test serve stack stack-down lint integration soak benchmark generate

quickstart serve: export MLFLOW_TRACKING_URI ?= sqlite:///$(CURDIR)/mlflow.db

quickstart: .venv/pipeline  ## images -> a trained, gated, published and verified version
	slipway main --config pipeline/conf/quickstart.yaml $(ARGS)

serve: .venv/pipeline  ## the model server (8501, 8500) and the MLflow UI (5000), until Ctrl-C
	slipway serve --ui --reconcile $(ARGS)

stack: .venv/dev  ## PostgreSQL, S3, MLflow with a login, model server and all, on loopback, without docker
	$(BIN)/python -m deploy.stack up $(ARGS)

stack-down: .venv/dev
	$(BIN)/python -m deploy.stack down $(ARGS)

test: .venv/dev  ## what takes minutes, a file of tests a process, two at once
	pytest -n 2 --dist loadfile $(ARGS)

# The stack that runs, if one does: else the tests start one of their own.
integration: export SLIPWAY_STACK ?= $(CURDIR)/stack
integration: .venv/dev  ## real servers, real trainings: half an hour
	pytest -m integration -n 2 --dist loadgroup --timeout 900 $(ARGS)

soak: .venv/dev  ## repeated kills and swaps: hours
	pytest -m soak --timeout 7200 $(ARGS)

lint: .venv/dev  ## style, types, import contracts, insecure code, secrets, a bill of materials in .venv/
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	bandit -q -c pyproject.toml -r slipway registry serving pipeline benchmarks deploy
	detect-secrets-hook --baseline .secrets.baseline $$(git ls-files)
	cyclonedx-py requirements --output-reproducible --validate --of JSON -o .venv/sbom.json requirements/pipeline.txt

benchmark: .venv/dev  ## on an otherwise idle machine
	$(BIN)/python -m benchmarks.export
	$(BIN)/python -m benchmarks.promotion
	$(BIN)/python -m benchmarks.bill
	$(BIN)/python -m benchmarks.serving $(ARGS)

generate: .venv/dev  ## MLproject, conda.yaml, wire messages, locked requirements
	uv pip compile -q --generate-hashes --no-header --python-version 3.11 requirements/uv.in -o requirements/uv.txt
	uv pip compile -q --generate-hashes --no-header --python-version 3.11 --override requirements/overrides.txt --extra pipeline pyproject.toml -o requirements/pipeline.txt
	uv pip compile -q --generate-hashes --no-header --python-version 3.11 --override requirements/overrides.txt --extra pipeline --extra spark --extra kubernetes --extra tracing --group dev -c requirements/pipeline.txt pyproject.toml -o requirements/dev.txt
	uv pip compile -q --generate-hashes --no-header --python-version 3.11 --extra serving -c requirements/pipeline.txt pyproject.toml -o requirements/serving.txt
	uv pip compile -q --generate-hashes --no-header --python-version 3.11 --extra serving --extra openvino --extra prediction-log --extra tracing -c requirements/pipeline.txt pyproject.toml -o requirements/serving-openvino.txt
	uv pip compile -q --generate-hashes --no-header --python-version 3.11 --extra sync -c requirements/pipeline.txt pyproject.toml -o requirements/sync.txt
	uv pip compile -q --generate-hashes --no-header --python-version 3.11 --extra kubernetes -c requirements/pipeline.txt pyproject.toml -o requirements/kubernetes.txt
	uv pip compile -q --generate-hashes --no-header --python-version 3.11 --override requirements/overrides.txt --extra spark -c requirements/pipeline.txt pyproject.toml -o requirements/spark.txt
	$(BIN)/python -m serving.wire.generate
	$(BIN)/python -m pipeline.mlproject

.venv/uv: requirements/uv.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	touch $@

# --no-deps: the locked files are complete, and one of them overrides a dependency.
.venv/pipeline: .venv/uv requirements/pipeline.txt pyproject.toml
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --require-hashes -r requirements/pipeline.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

.venv/dev: .venv/pipeline requirements/dev.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --require-hashes -r requirements/dev.txt
	touch $@
