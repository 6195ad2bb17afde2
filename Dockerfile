# The reactor: a sidecar that removes the container of each session whose heartbeat key has ended.
#
#   docker build -t session-reactor .
#
# Nothing here needs BuildKit. Every package is pinned and hashed in lock/; the final stage holds a Python and the packages,
# neither a compiler nor pip's leavings, and runs as a user without a name, a home or a shell.

# Pin it by digest, or take your own: --build-arg PYTHON_IMAGE=...
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The locks first: a change of the program alone downloads nothing.
COPY lock/build.lock lock/runtime.lock lock/
RUN pip install --require-hashes -r lock/build.lock \
 && python -m venv --without-pip /opt/reactor \
 && pip --python /opt/reactor/bin/python install --only-binary :all: --require-hashes -r lock/runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY reactor/ reactor/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/reactor/bin/python install --no-deps --no-index dist/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="session-reactor" \
      org.opencontainers.image.description="Removes the container of each session whose heartbeat key in Redis has ended" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/reactor /opt/reactor
# Bytecode is there already and the root may be read-only; output is a log and must not wait in a buffer.
ENV PATH=/opt/reactor/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# A reactor.toml mounted here is found without REACTOR_CONFIG.
WORKDIR /etc/session-reactor
# Numeric, so that Kubernetes' runAsNonRoot can tell. The engine's socket belongs to a group of the machine: give the
# container that group (docker run --group-add "$(stat -c %g /var/run/docker.sock)"), not root.
USER 10001:10001
# Alive, not ready: where an unhealthy container is replaced, an outage of Redis must not take the reactor down too.
# With the listener off (REACTOR_LISTEN="") there is nothing to ask.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 CMD ["python", "-c", "\
import http.client as h, os, sys\n\
a = os.environ.get('REACTOR_LISTEN', '127.0.0.1:8642')\n\
if not a: sys.exit(0)\n\
c = h.HTTPConnection(a, timeout=4)\n\
c.request('GET', '/livez')\n\
sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["reactor"]
CMD ["run"]
