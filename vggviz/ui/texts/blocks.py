"""The tab 'All blocks'."""

EN = {
    "blocks.name": "All blocks",
}

ZH = {
    "blocks.name": "所有块",
}
