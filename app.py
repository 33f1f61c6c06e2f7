"""Start the page: `python app.py`. The port and address are Gradio's, by GRADIO_SERVER_PORT.

With VGGVIZ_MCP=1 its functions can be called over MCP as well: `pip install '.[mcp]'`.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

from vggviz.ui import LAUNCH, QUEUE, build

demo = build()
demo.queue(**QUEUE)

if __name__ == "__main__":
    demo.launch(**LAUNCH, mcp_server=os.environ.get("VGGVIZ_MCP") == "1")
