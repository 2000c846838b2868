# Topout on a CPU, as the README's "Install" has it, in the versions of constraints.txt:
#   docker build -t topout .
#   docker run --rm -v topout-cache:/cache -v "$PWD:/data" topout climb --quick
# Measure with all the CPUs and memory that are to count: limits of the container are limits of the
# measurement.
FROM python:3.12-slim

# The native kernels are compiled where they run, at first use.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /topout
COPY constraints.txt ./
ENV PIP_CONSTRAINT=/topout/constraints.txt PIP_NO_CACHE_DIR=1
RUN pip install torch --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install '.[all]'

# Ceilings and kernels that are kept belong to the machine: a volume of its own keeps them.
ENV TOPOUT_CACHE=/cache TOPOUT_HOME=/data/topout-runs
WORKDIR /data
ENTRYPOINT ["topout"]
