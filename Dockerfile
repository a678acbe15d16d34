# docker build -t pooler . && docker run -p 6432:6432 -v ./pooler:/etc/pooler:ro pooler   (docs/guide/containers.md)
FROM python:3.13-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev libssl-dev && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN python -m venv /opt/pooler && /opt/pooler/bin/pip install --no-cache-dir /src

FROM python:3.13-slim
RUN useradd --system --no-create-home pooler && install -d -o pooler -g pooler /etc/pooler /run/pooler
COPY --from=build /opt/pooler /opt/pooler
USER pooler
EXPOSE 6432
# As in the unit file: docker stop lets running transactions end.
STOPSIGNAL SIGINT
ENTRYPOINT ["/opt/pooler/bin/pooler"]
CMD ["/etc/pooler/pooler.ini"]
