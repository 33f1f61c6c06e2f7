"""The tab 'Ask a pixel'."""

EN = {
    "pixel.name": "Ask a pixel",
}

ZH = {
    "pixel.name": "询问像素",
}
