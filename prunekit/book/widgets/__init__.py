"""Things to move with the mouse: one module a chapter."""
