# docker build -t pooler . ; how to run it, and a compose file, stand in docs/guide/containers.md and etc/compose.
# Python, OpenSSL and libpq are Debian's: a new build of the image brings their fixes.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        gcc libc6-dev libpq-dev libssl-dev python3-dev python3-venv
COPY . /src
# psycopg2-binary of PyPI brings an OpenSSL of its own: it is compiled here.
RUN python3 -m venv /opt/pooler && /opt/pooler/bin/pip install --no-cache-dir --no-binary=psycopg2-binary /src

FROM ${BASE}
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libpq5 libssl3 python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home --uid 700 pooler \
    && install -d -o pooler -g pooler /run/pooler && install -d /etc/pooler
COPY --from=build /opt/pooler /opt/pooler
COPY --from=build --chmod=755 /src/etc/compose/healthy.py /opt/pooler/bin/healthy
USER pooler
EXPOSE 6432
# As in the unit file: docker stop lets running transactions end. Give it as long as they take (--time).
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/opt/pooler/bin/healthy"]
ENTRYPOINT ["/opt/pooler/bin/pooler"]
CMD ["/etc/pooler/pooler.ini"]
