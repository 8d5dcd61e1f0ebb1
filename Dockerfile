# The suite without a GPU build of its own: torch comes from the package index, as in any other installation.
#   docker build -t unseen .
#   docker run --rm -v "$PWD/runs:/work/runs" unseen run --grid demo
#   docker run --rm --gpus all -v /data:/data:ro -v "$PWD/runs:/work/runs" unseen run --grid main-study --data /data
FROM python:3.12-slim

COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt /src \
    && rm -rf /src \
    && useradd --create-home --uid 1000 reader \
    && install -d -o reader /work

# nothing that reads foreign images and tables needs to be root
USER reader
WORKDIR /work
ENTRYPOINT ["bench"]
CMD ["--help"]
