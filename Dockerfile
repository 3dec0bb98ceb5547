# The service as an image: `make image`, docs/container.md. Credentials reach one RUN as build secrets and nothing else.
#
# The Python of .python-version. Every stage starts here, so that environments made in one work in the next.
FROM python:3.11.15-slim-bookworm AS base

FROM base AS tools
WORKDIR /build
# No build from source: there is no compiler, and none is wanted.
ENV PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all:
# A pip that stays behind.
RUN python -m venv /opt/tools

# Third-party packages, each by its sha256. Two secrets, both optional: pip's configuration (a company's mirror) and the
# certificates to trust with it.
FROM tools AS third-party
COPY scripts/environment.py scripts/
COPY requirements.txt ./
COPY requirements/scikit-learn.txt requirements/operations.txt requirements/log.txt requirements/otel.txt requirements/tables.txt requirements/
# Not empty if scikit-learn serves one of the models.
ARG SCIKIT_LEARN=
# Not empty: with what METRICS and RATE_LIMIT need.
ARG OPERATIONS=
# Not empty: with what PREDICTION_LOG needs.
ARG LOG=
# Not empty: with what OTEL_EXPORTER_OTLP_ENDPOINT needs.
ARG OTEL=
# Not empty: with what ARROW needs.
ARG TABLES=
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=pip_cert \
    if [ -s /run/secrets/pip_cert ]; then export PIP_CERT=/run/secrets/pip_cert; fi; \
    for lock in requirements.txt ${SCIKIT_LEARN:+requirements/scikit-learn.txt} ${OPERATIONS:+requirements/operations.txt} \
        ${LOG:+requirements/log.txt} ${OTEL:+requirements/otel.txt} ${TABLES:+requirements/tables.txt}; do \
        python scripts/environment.py /opt/serving --lock "$lock" --pip /opt/tools/bin/python --without-tests || exit; \
    done

# Our own wheels: exact versions, each by its sha256, from the private index alone. A folder of their own, so that a new
# model is a new layer of 1 MB and not of 150.
FROM tools AS models
RUN python -m venv --without-pip /opt/models
COPY scripts/environment.py scripts/install_models.py scripts/package_index.py scripts/processes.py scripts/project.py scripts/
COPY build/published.txt build/
RUN --mount=type=secret,id=PACKAGE_INDEX_URL,required=true --mount=type=secret,id=PACKAGE_INDEX_USER \
    --mount=type=secret,id=PACKAGE_INDEX_TOKEN --mount=type=secret,id=pip_cert \
    if [ -s /run/secrets/pip_cert ]; then export PIP_CERT=/run/secrets/pip_cert; fi; \
    for name in PACKAGE_INDEX_URL PACKAGE_INDEX_USER PACKAGE_INDEX_TOKEN; do \
        if [ -s "/run/secrets/$name" ]; then export "$name=$(cat "/run/secrets/$name")"; fi; \
    done; \
    /opt/tools/bin/python scripts/install_models.py --environment /opt/models
# The artefacts that the label will name, one after the other, are those that are inside.
ARG ARTIFACT_SHA256=
RUN for artifact in $ARTIFACT_SHA256; do \
        grep -qF "\"artifact_sha256\": \"$artifact\"" /opt/models/lib/python3.11/site-packages/*/bundle/manifest.json || \
        { echo "the wheels of build/published.txt do not hold the artefact $artifact" >&2; exit 1; }; \
    done

FROM tools AS api
WORKDIR /app
COPY run.sh scripts/healthcheck.py ./
COPY packages/ml_api/gunicorn.conf.py packages/ml_api/
COPY packages/ml_api/ml_api packages/ml_api/ml_api
# Readable by any user, whatever the umask of the checkout.
RUN python -m compileall -q . && chmod -R a+rX,go-w .

FROM base AS serve
WORKDIR /app
# Neither while building nor later does ONNX Runtime tell its maker of us.
ENV PATH=/opt/serving/bin:$PATH ORT_DISABLE_TELEMETRY=1
# What serves installs nothing.
RUN stdlib="$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" && \
    rm -rf "$stdlib/ensurepip" "$stdlib/site-packages" /usr/local/bin/pip*
COPY --from=third-party /opt/serving /opt/serving
# The official image has no bytecode, and a read-only root keeps none: each start would compile the standard library.
RUN python -c "import apispec, flask, gunicorn.app.wsgiapp, gunicorn.workers.gthread, marshmallow, onnxruntime, _strptime, \
        concurrent.futures.thread, gzip, http.client, importlib.readers, importlib.resources.readers, tomllib"
COPY --from=models /opt/models/lib/python3.11/site-packages /opt/serving/lib/python3.11/site-packages
COPY --from=api /app /app
# SageMaker starts an image with the argument `serve`: docs/protocols.md.
RUN printf '#!/bin/sh\nexec sh /app/run.sh serve\n' > /usr/local/bin/serve && chmod 755 /usr/local/bin/serve
# A number, so that a platform that refuses root can tell.
USER 10001:10001
EXPOSE 5000
# The PORT and HOST of the service; the reason of a failure is in `docker inspect`.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-IS", "/app/healthcheck.py"]
CMD ["sh", "run.sh"]
# Last, for they change with every build.
ARG GIT_COMMIT=
ARG MODEL_VERSION=
ARG ARTIFACT_SHA256=
ENV GIT_COMMIT=$GIT_COMMIT
LABEL org.opencontainers.image.title="ml-api" \
      org.opencontainers.image.description="Predictions of models over HTTP" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="$GIT_COMMIT" \
      org.opencontainers.image.version="$MODEL_VERSION" \
      ml-api.model.artifact-sha256="$ARTIFACT_SHA256"
