# The page on a CPU. PyTorch as the package index has it brings CUDA's libraries along, 2.5 GB that
# a CPU can't use; with the address of PyTorch's own CPU index the image is a tenth of that:
#   docker build --build-arg TORCH_INDEX=… -t vggviz .
#   docker run --read-only --tmpfs /tmp --stop-timeout 40 -p 7860:7860 vggviz
FROM python:3.11-slim

ARG TORCH_INDEX=""
WORKDIR /app
COPY assets/hosting/*.lock /tmp/
RUN pip install --no-cache-dir --require-hashes -r /tmp/requirements.lock \
 && if [ -n "$TORCH_INDEX" ]; then \
      pip install --no-cache-dir --index-url "$TORCH_INDEX" \
        $(grep -oE '^(torch|torchvision)==[0-9.]+' /tmp/torch.lock); \
    else \
      pip install --no-cache-dir --require-hashes -r /tmp/torch.lock; \
    fi \
 && rm /tmp/*.lock

COPY app.py ./
COPY assets assets
COPY vggviz vggviz
RUN useradd --create-home --uid 1000 vggviz && python -m compileall -q vggviz
USER vggviz

ENV VGGVIZ_HOST=0.0.0.0 VGGVIZ_PORT=7860 VGGVIZ_LOG=json \
    GRADIO_TEMP_DIR=/tmp/uploads MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['VGGVIZ_PORT'] + '/healthz', timeout=4)"]
CMD ["python", "app.py"]
