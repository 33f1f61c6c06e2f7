"""Tables of texts from the rows of a map metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd
from pandas import DataFrame

__all__ = ["pivot", "table_by_map"]


def table_by_map(
    rows: DataFrame, columns: Mapping[str, tuple[str, str]], *, every_stage: bool = False
) -> DataFrame:
    """A table with a row for each map of each network, at every stage or at its deepest one, and
    below them, once for all networks, the maps without a stage. `columns` are (measure, against) by
    heading; those without a number are left out. `rows` have the fields of `job.Row`."""
    if not every_stage:  # stages come from the lowest up
        deepest = rows.groupby(["network", "map"])["stage"].transform("last")
        rows = rows[rows["stage"] == deepest]
    shared = rows["stage"] == ""
    first = rows[shared & (rows["network"] == rows["network"].iloc[0])].assign(network="")
    rows = pd.concat([rows[~shared], first])
    headings = {pair: heading for heading, pair in columns.items()}
    pairs = zip(rows["measure"], rows["against"], strict=True)
    rows = rows.assign(heading=[headings.get(pair) for pair in pairs])
    return pivot(rows, {"network": "", "map": "map", "stage": "stage"}, columns)


def pivot(rows: DataFrame, index: Mapping[str, str], columns: Iterable[str]) -> DataFrame:
    """A table of texts, 'value [low, high]' with two digits, with a row for each combination of
    values in the columns `index` (new headings by name), and a column for each value of the column
    'heading', in the order of `columns`."""
    cells = [
        "" if pd.isna(row.value) else f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"
        for row in rows.itertuples()
    ]
    rows = rows.assign(cell=[cell.replace("-", "−") for cell in cells])
    order = pd.MultiIndex.from_frame(rows[[*index]].drop_duplicates())
    named = rows[rows["heading"].notna()]
    table = named.pivot(index=[*index], columns="heading", values="cell")
    table = table[[name for name in columns if name in table]].reindex(order).fillna("")
    return table.reset_index().rename(columns=dict(index))
