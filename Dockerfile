# docker build -t lit-opt . && docker run --rm -v "$PWD/runs:/app/runs" lit-opt --epochs 5
# `docker stop --time 60` saves the run; the same command with --name NAME --resume goes on with it.
FROM python:3.12-slim

RUN useradd --create-home trainer
WORKDIR /app
COPY pyproject.toml README.md LICENSE train.py ./
COPY lit_opt lit_opt
COPY configs configs
RUN pip install --no-cache-dir -e . \
 && mkdir runs data && chown trainer runs data

USER trainer
# Python itself gets the signals: there is no shell between it and Docker.
ENTRYPOINT ["python", "train.py"]
