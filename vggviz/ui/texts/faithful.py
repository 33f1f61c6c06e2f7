"""The tab 'How faithful'."""

EN = {
    "faithful.name": "How faithful",
}

ZH = {
    "faithful.name": "是否忠实",
}
