# The command `avcil` on the CPU:
#
#     docker build -t avcil .
#     docker run --rm -v "$PWD:/data" avcil scan clips --out clips.csv
#
# Not built by the project's tests. What they check is what it relies on: the wheel installs into an empty environment
# and works there (scripts/check_wheel.py). gcc compiles the attention kernel; without it training is slower.
FROM python:3.11-slim
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt \
      --extra-index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' constraints.txt)+cpu" \
 && pip install --no-cache-dir --constraint constraints.txt ".[encoders,export,serve]"
RUN useradd --create-home avcil
USER avcil
WORKDIR /data
ENTRYPOINT ["avcil"]
