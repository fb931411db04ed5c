ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /src
# Every installed file has a recorded hash. Only Heloise itself is built.
ENV PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all: PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.txt requirements-build.txt ./
RUN pip install --require-hashes --requirement requirements-build.txt \
    && python -m venv --without-pip /opt/heloise \
    && pip --python /opt/heloise install --require-hashes --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY migrations migrations
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && pip --python /opt/heloise install --no-deps /tmp/wheel/*.whl \
    && cyclonedx-py environment --output-file /opt/heloise/sbom.cdx.json /opt/heloise/bin/python

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="Heloise" \
      org.opencontainers.image.description="Send email over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin heloise \
    && install --directory --owner=heloise --group=heloise --mode=0700 /data
COPY --from=build /opt/heloise /opt/heloise
# The image of Python has no bytecode of the standard library, and user 10001 cannot write any: each
# start would compile it.
RUN python -m compileall -q /usr/local/lib/python3.*/
ENV PATH=/opt/heloise/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HELOISE_HOST=0.0.0.0
USER 10001
# Folder of the SQLite file, the default database. (A variable would win over a secret file that
# names another database.)
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# The certificate is for the public name, not for loopback. With HELOISE_TLS_CLIENT_CA, replace this
# check by one with a client certificate.
HEALTHCHECK --interval=15s --timeout=4s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, ssl, urllib.request; scheme = 'https' if os.environ.get('HELOISE_TLS_CERTIFICATE') else 'http'; urllib.request.urlopen(scheme + '://127.0.0.1:' + os.environ.get('HELOISE_PORT', '8000') + '/healthz', timeout=3, context=ssl._create_unverified_context())"]
ENTRYPOINT ["heloise"]
CMD ["serve"]
