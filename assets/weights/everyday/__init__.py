"""How the bundled network `everyday` is made: pictures, soft labels, training, and its judge."""
