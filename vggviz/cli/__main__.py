"""`python -m vggviz.cli`."""

from vggviz.cli import main

main()
