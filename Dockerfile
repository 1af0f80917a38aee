# meterseal in a container: no build tools in the final image, an account of its own, nothing writable but its volume.
#   docker run --read-only --cap-drop ALL --device /dev/ttyUSB0 -v ./site.yaml:/etc/meterseal/site.yaml:ro -v meterseal:/var/lib/meterseal meterseal
# docs/container.md shows all of it with broker, collector and database.
FROM python:3.13-slim AS build
WORKDIR /build
COPY deploy/requirements-all.txt deploy/requirements-build.txt deploy/
RUN python -m venv /opt/meterseal && \
    /opt/meterseal/bin/pip install --no-cache-dir --require-hashes -r deploy/requirements-all.txt && \
    python -m venv /opt/build && \
    /opt/build/bin/pip install --no-cache-dir --require-hashes -r deploy/requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY agent agent
COPY drivers drivers
COPY config config
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation -w dist . && \
    /opt/meterseal/bin/pip install --no-cache-dir --no-deps dist/*.whl && \
    /opt/meterseal/bin/python -m compileall -q /opt/meterseal/lib && \
    rm -rf /opt/meterseal/lib/python3*/site-packages/pip* /opt/meterseal/bin/pip*

FROM python:3.13-slim
# Serial ports belong to the group dialout (20 on Debian).
RUN useradd --uid 10001 --groups dialout --home-dir /var/lib/meterseal --create-home meterseal && \
    mkdir -p /etc/meterseal && chown meterseal /etc/meterseal
COPY --from=build /opt/meterseal /opt/meterseal
ENV PATH=/opt/meterseal/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 METERSEAL_SITE=/etc/meterseal/site.yaml METERSEAL_STATE=/var/lib/meterseal
USER meterseal
VOLUME /var/lib/meterseal
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["meterseal", "status", "--health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["meterseal"]
CMD ["run"]
