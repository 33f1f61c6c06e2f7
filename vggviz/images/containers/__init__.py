"""Picture files, taken apart before a decoder sees them.

Each module walks one format's structure within fixed bounds and gives a `Container`: a file with
nothing but the first picture's own blocks, and what of the metadata is used. Comments, text, EXIF,
previews, further frames and whatever stands behind the end never reach a decoder.
"""
