# Omni with everything that a server needs: HTTP, stream, training, PostgreSQL and Redis. `docker build -t omni .`
# State lies in /var/lib/omni, and nowhere else. docs/deploy.md says how to run it.

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/omni
ENV PATH=/opt/omni/bin:$PATH
WORKDIR /opt/omni/src
COPY constraints.txt pyproject.toml ./
# A layer of its own, as it changes least. PyTorch's index of builds for processors spares 3 GB for graphics cards. For these, or from the
# package index that pip is set to: `docker build --build-arg TORCH_INDEX= -t omni .`
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install ${TORCH_INDEX:+--no-deps --index-url "$TORCH_INDEX"} "torch==$(sed -n 's/^torch==//p' constraints.txt)" \
    --constraint constraints.txt
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    extras = project['optional-dependencies']; \
    print('\n'.join([*project['dependencies'], *extras['postgres'], *extras['redis'], *extras['demo']]))" > requirements.txt \
    && pip install --requirement requirements.txt --constraint constraints.txt
COPY . .
RUN pip install --no-deps --editable . && python -m compileall -q features training serving omni.py

FROM python:3.11-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/omni omni \
    && install --directory --owner=omni /var/lib/mlflow
COPY --from=build /opt/omni /opt/omni
ENV PATH=/opt/omni/bin:$PATH \
    OMNI_HOME=/var/lib/omni \
    NUMBA_CACHE_DIR=/var/lib/omni/.cache/numba \
    PYTHONUNBUFFERED=1
USER 10001
WORKDIR /var/lib/omni
VOLUME /var/lib/omni
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/livez', timeout=2)"]
ENTRYPOINT ["omni"]
CMD ["serve", "--host", "0.0.0.0", "--log-format", "json"]
