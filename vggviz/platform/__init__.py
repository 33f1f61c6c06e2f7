"""The machine: its description, its memory, its number formats."""
