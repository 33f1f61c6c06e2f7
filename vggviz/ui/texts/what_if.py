"""The tab 'What if'."""

EN = {
    "what_if.name": "What if",
}

ZH = {
    "what_if.name": "假如",
}
