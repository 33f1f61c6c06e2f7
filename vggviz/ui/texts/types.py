"""The tab 'All types'."""

EN = {
    "types.name": "All types",
}

ZH = {
    "types.name": "所有类型",
}
