# Images of the three services: one environment, one target a service, so that they share all large layers.
#
#   docker build --target backup -t streamgauge/backup:0.1.0 .          (`make images` builds all)
#
# Classic instructions only: any builder takes them. The base image is named with its digest in one place, here.
ARG PYTHON_IMAGE=python:3.13-slim-trixie@sha256:3dd7cc108ec1493442514f5c2a871af6af0ec31d768ff6e378a93340c3b3db5f

# ---- build: the environment, from locked and hashed packages ----
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
WORKDIR /build

COPY requirements-images.lock requirements-build.lock ./
# The tools that make wheels, locked as well, stay out of the environment that is shipped; so do pip and tests.
RUN python3 -m venv --without-pip /app \
 && python3 -m venv /tools \
 && /tools/bin/pip install --require-hashes -r requirements-build.lock \
 && /tools/bin/pip wheel --require-hashes --no-build-isolation --wheel-dir /wheels -r requirements-images.lock \
 && /tools/bin/pip --python /app/bin/python install --no-index --no-deps /wheels/*.whl \
 && find /app -depth -type d \( -name tests -o -name test \) -path '*/site-packages/*' -exec rm -rf {} + \
 && rm -rf /wheels /app/lib/python3.*/site-packages/pyarrow/include /app/lib/python3.*/site-packages/pyarrow/src

COPY pyproject.toml README.md LICENSE ./
COPY streamgauge streamgauge
RUN /tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /tools/bin/pip --python /app/bin/python install --no-deps /wheels/*.whl
# The services are programs, no library: they lie beside it.
COPY services /app/services
COPY images/restore_kernels.py images/restore_kernels.pth images/
RUN cp images/restore_kernels.* /app/lib/python3.*/site-packages/

# Numba's machine code is made here, so that a service captures at once. For any processor of this architecture: made for
# the builder's own, it would be thrown away on every other one.
ENV NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=/app/kernels
COPY images/compile_kernels.py images/
RUN PYTHONPATH=/app /app/bin/python images/compile_kernels.py \
 && /app/bin/python -m compileall -q -j 0 /app/lib /app/services \
 && chmod -R a=rX /app

# ---- what all three have ----
FROM ${PYTHON_IMAGE} AS service
LABEL org.opencontainers.image.source="https://github.com/streamgauge/streamgauge" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=build /app /app
# /tmp is the only place that is written to: a memory file system, since the root is mounted read-only.
ENV PATH=/app/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp \
    NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=/tmp/kernels STREAMGAUGE_LOG_FORMAT=json
WORKDIR /app
STOPSIGNAL SIGTERM

# ---- collector ----
FROM service AS collector
LABEL org.opencontainers.image.title="streamgauge collector" \
      org.opencontainers.image.description="Captures packets, publishes summaries"
# Root, and nothing root can do but open packet sockets: whoever starts it drops every capability except NET_RAW. An added
# capability does not reach other users (there are no ambient capabilities in Docker or Kubernetes), and a file capability
# on the interpreter would need "no new privileges" to be off.
USER 0:0
EXPOSE 9101
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "streamgauge.probe", "collector"]
CMD ["python", "-m", "services.collector"]

# ---- backup; also runs `streamgauge bootstrap` and the operator's commands ----
FROM service AS backup
LABEL org.opencontainers.image.title="streamgauge backup" \
      org.opencontainers.image.description="Writes summaries to object storage as Parquet"
USER 10001:10001
EXPOSE 9102
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "streamgauge.probe", "backup"]
CMD ["python", "-m", "services.backup"]

# ---- exporter ----
FROM service AS exporter
LABEL org.opencontainers.image.title="streamgauge exporter" \
      org.opencontainers.image.description="Turns summaries into Prometheus metrics"
USER 10001:10001
EXPOSE 9103
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "streamgauge.probe", "exporter"]
CMD ["python", "-m", "services.exporter"]
