# Three images from one file: `service` (no torch, no onnx), `service-gpu`, and `worker`.
#   docker build --target service .
#   docker build --target worker --build-arg TORCH_INDEX=<PyTorch's CPU wheel index> .
# `tests/test_packaging.py` compares the copied folders with what the modules in them import.
FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    ISS_HOME=/data ISS_HOST=0.0.0.0 ISS_WORKER_METRICS_HOST=0.0.0.0
# Volumes take their owner from these folders.
RUN useradd --uid 10001 --create-home app && mkdir -p /data && chown -R app /data
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="isslim" \
    org.opencontainers.image.description="Makes trained recurrent networks small and fast, and serves both versions" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.licenses="MIT"
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY isslim/__init__.py isslim/py.typed isslim/
COPY isslim/types isslim/types
COPY isslim/store isslim/store
COPY isslim/settings isslim/settings
COPY isslim/runtime isslim/runtime

FROM base AS service
COPY isslim/service isslim/service
RUN pip install -c constraints.txt '.[service,otel]'
USER app
VOLUME /data
EXPOSE 8000
# By the shell, in milliseconds: a Python takes a third of a second of a processor each time. Often,
# as workers wait for it at the start; `--start-interval` is unknown to engines before 25.
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=5 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8000 && printf 'GET /health/ready HTTP/1.0\\r\\nhost: 127.0.0.1\\r\\n\\r\\n' >&3 && read -r -t 4 status <&3 && [[ $status == *' 200 '* ]]"]
STOPSIGNAL SIGTERM
CMD ["python", "-m", "isslim.service"]

FROM base AS worker
ARG TORCH_INDEX=
RUN if [ -n "$TORCH_INDEX" ]; then pip install -c constraints.txt --index-url "$TORCH_INDEX" torch; fi
COPY isslim/card isslim/card
COPY isslim/compress isslim/compress
RUN pip install -c constraints.txt '.[worker,otel]'
USER app
VOLUME /data
ENV MPLCONFIGDIR=/tmp
# It reads settings and locks, by a Python of its own: nearly a second of a processor.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["python", "-m", "isslim.compress.worker.health"]
STOPSIGNAL SIGTERM
CMD ["python", "-m", "isslim.compress.worker"]

# The same service on NVIDIA GPUs; last, as the classic builder makes all images before the one that is
# asked for. Both packages of ONNX Runtime own one module: the CPU's goes before the GPU's comes.
# CUDA and cuDNN come as wheels, which the runtime loads; the driver's library comes from the host.
FROM service AS service-gpu
USER root
COPY constraints-gpu.txt ./
RUN pip uninstall --yes onnxruntime \
    && pip install -c constraints.txt -c constraints-gpu.txt 'onnxruntime-gpu[cuda,cudnn]'
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER app
