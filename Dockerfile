# One image for every process of docker-compose.yml: which one it is, the command says.
FROM python:3.13-slim

RUN useradd --create-home --uid 10001 oracle
WORKDIR /app

COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements.lock

COPY pyproject.toml README.md LICENSE dagster.yaml workspace.yaml ./
COPY oracle_lib oracle_lib
COPY oracle_pipelines oracle_pipelines
COPY oracle_api oracle_api
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && mkdir -p /data/dagster && cp dagster.yaml /data/dagster/ && chown -R oracle /data

USER oracle
ENV ORACLE_HOME=/data DAGSTER_HOME=/data/dagster PYTHONUNBUFFERED=1
# What `oracle up` sets for Dagster: see docs/operations.md, Jobs.
ENV DAGSTER_EVENT_BATCH_SIZE=1000 DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS=1
VOLUME /data
CMD ["oracle", "--help"]
