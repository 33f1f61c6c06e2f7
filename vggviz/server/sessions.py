"""A visitor's session without the copy of the whole page that Gradio makes for its deep links.

Making it took 13 ms of the event loop for each new session, while all others waited; deep links
are closed here (see `door`), and nothing else reads it.
"""

from __future__ import annotations

from copy import copy
from datetime import datetime
from typing import Any

from gradio.blocks import Blocks
from gradio.components import State
from gradio.state_holder import SessionState, StateHolder

__all__ = ["Sessions"]

HOUR = 3600  # seconds that a session is remembered after its page was closed


class Session(SessionState):
    """As Gradio's, with `state_data` and `blocks_config`, but `config_values` stays empty."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks_config = copy(blocks.default_config)
        self.config_values = {}
        self.state_data = {}
        self._state_ttl = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = HOUR

    def __setitem__(self, key: int, value: Any) -> None:
        block = self.blocks_config.blocks.get(key)
        if isinstance(block, State):
            self._state_ttl[key] = (block.time_to_live, datetime.now())
            self.state_data[key] = value
        else:
            self.blocks_config.blocks[key] = value

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


class Sessions(StateHolder):
    """As Gradio's, of `Session`s."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = Session(self.blocks)
        return super().__getitem__(session_id)
