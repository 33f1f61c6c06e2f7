"""The parts of the first tab, each a function from what is shown to HTML."""
