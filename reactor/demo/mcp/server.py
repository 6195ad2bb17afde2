"""An MCP server for one user: it keeps notes in its memory, which is its container's, and so nobody else's.

It listens on HOST (127.0.0.1 unless set; the image sets 0.0.0.0) and PORT (8000), at /mcp, over streamable HTTP.
"""

# ruff: noqa: INP001 -- a program, not a module

import os

from mcp.server import MCPServer


def make_server(session_id: str) -> MCPServer:
    """Return the server of one session, with an empty memory."""
    server = MCPServer("notes", instructions="Keeps notes for one user.", log_level="WARNING")
    notes: list[str] = []

    @server.tool()
    def whoami() -> str:
        """Say whose session this is."""
        return session_id

    @server.tool()
    def remember(note: str) -> int:
        """Keep a note; return how many there are now."""
        notes.append(note)
        return len(notes)

    @server.tool()
    def recall() -> list[str]:
        """Return all notes, oldest first."""
        return list(notes)

    @server.tool()
    def add(a: float, b: float) -> float:
        """Add two numbers."""
        return a + b

    return server


if __name__ == "__main__":
    make_server(os.environ.get("SESSION_ID", "nobody")).run(
        "streamable-http", host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000"))
    )
