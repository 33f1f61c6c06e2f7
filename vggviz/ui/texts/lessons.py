"""The tab 'Lessons'."""

EN = {
    "lessons.name": "Lessons",
}

ZH = {
    "lessons.name": "课程",
}
