"""What Gradio keeps of each visit: of an open page, and of every call of an endpoint."""

from __future__ import annotations

from types import SimpleNamespace

from gradio.blocks import Blocks
from gradio.state_holder import SessionState, StateHolder


class Visits(StateHolder):
    """Visits in memory, the one that was longest unused first."""

    def __getitem__(self, session_id: str) -> SessionState:
        """Return a visit, which begins here if it is new."""
        if session_id not in self.session_data:
            self.session_data[session_id] = Visit(self.blocks)
        return super().__getitem__(session_id)


class Visit(SessionState):
    """The values of a visit, without a description of all parts of the page.

    Gradio makes and keeps that for links to a visit, which this page does not offer: 1.2 MB and a
    tenth of a second for each of them.
    """

    def __init__(self, blocks: Blocks) -> None:
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks=()))
        self.blocks_config.config_for_block = lambda *_: {}
