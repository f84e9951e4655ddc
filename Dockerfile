# docker build -t lit-opt . && mkdir -p runs && docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/runs:/app/runs" lit-opt --epochs 5
# `docker stop --time 60` saves the run; the same command with --name NAME --resume goes on with it.
FROM python:3.12-slim

RUN useradd --create-home trainer
WORKDIR /app
COPY pyproject.toml README.md LICENSE train.py ./
COPY lit_opt lit_opt
COPY configs configs
# For wheels without CUDA: docker build --build-arg PIP_EXTRA_INDEX_URL=(PyTorch's index of CPU wheels)
ARG PIP_EXTRA_INDEX_URL
RUN pip install --no-cache-dir -e . \
 && mkdir runs data && chown trainer runs data

USER trainer
# Python itself gets the signals: there is no shell between it and Docker.
ENTRYPOINT ["python", "train.py"]
