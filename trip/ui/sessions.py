"""What Gradio keeps for each session of the page, made cheaply."""

from typing import Any, Self

from gradio.blocks import Block, Blocks, BlocksConfig


class SharedConfig(BlocksConfig):
    """The components of a page. Gradio describes all of them anew for each session, on the event loop, and a crowd that comes at once
    keeps the page from answering meanwhile; here what no session has changed is described once.

    described  by id, of the page's own components; none: of the page itself, which is described as it is
    """

    def __init__(self, page: Blocks, described: dict[int, dict[str, Any]] | None = None):
        super().__init__(page)
        self.described = described
        self._of_sessions: dict[int, dict[str, Any]] = {}

    def __copy__(self) -> Self:
        """That of a session."""
        session = type(self)(self.root_block, self._of_sessions if self.described is None else self.described)
        session.blocks, session.fns, session.fn_id = dict(self.blocks), dict(self.fns), self.fn_id
        session.renderables = list(self.renderables)
        return session

    def config_for_block(self, _id: int, rendered_ids: list[int], block: Block, renderable: Any = None) -> dict[str, Any]:
        """As Gradio's; a session may change what it gets."""
        if self.described is None or renderable or block is not self.root_block.blocks.get(_id):
            return super().config_for_block(_id, rendered_ids, block, renderable)
        if _id not in self.described:
            self.described[_id] = super().config_for_block(_id, rendered_ids, block)
        known = self.described[_id]
        return {**known, "props": {**known["props"]}}
