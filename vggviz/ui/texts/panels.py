"""What several tabs say of a map."""

EN = {
    "panels.flat": "the same everywhere: {value}",
    "panels.flat_alt": "{alt}: the same everywhere, {value}",
}

ZH = {
    "panels.flat": "处处相同：{value}",
    "panels.flat_alt": "{alt}：处处相同，{value}",
}
