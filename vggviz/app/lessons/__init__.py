"""The lessons: steps over the living page, in a card beside it."""
