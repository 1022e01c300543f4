"""Interactive widgets: one module a chapter."""
