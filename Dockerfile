# An image with the command `avcil`, on the CPU:
#
#     docker build -t avcil .
#     docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" avcil scan clips --out clips.csv
#     docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" -p 127.0.0.1:7860:7860 avcil serve model --host 0.0.0.0
#
# The tests do not build this image. `make check-wheel` checks that the wheel installs into an empty environment and
# works there. gcc compiles the attention kernel at its first use; without it, training is slower.
FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

FROM python:3.11-slim
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
COPY constraints.txt /dist/
RUN pip install --no-cache-dir --constraint /dist/constraints.txt \
      --extra-index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' /dist/constraints.txt)+cpu"
COPY --from=build /dist/*.whl /dist/
RUN pip install --no-cache-dir --constraint /dist/constraints.txt "$(echo /dist/*.whl)[encoders,export,serve]"
# Any user may run the image, also one without a home folder.
ENV HOME=/tmp
USER nobody
WORKDIR /data
ENTRYPOINT ["avcil"]
