"""The numbers of maps as pandas frames, and as tables of texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd
from pandas import DataFrame

__all__ = ["pivot", "table_by_map"]


def table_by_map(
    rows: DataFrame, columns: Mapping[str, tuple[str, str]], *, every_stage: bool = False
) -> DataFrame:
    """A line for each map of each network, at every stage or at its deepest one, and below them,
    once for all networks, maps without a stage; a column for each of `columns`, headings with
    (measure, against), that has a number."""
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
    """A table of texts, 'value [low, high]' with two digits, with a line for each combination of
    the columns in `index`, under other headings, and a column for each `heading` of the rows, in
    the order of `columns`."""
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
