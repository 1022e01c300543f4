"""What only the book needs: its chapters' setting, figures, and readings of recorded studies.

Nothing below imports it, and the library works without it.
"""

from pathlib import Path

#: The folder of the book's pages, studies and recorded results.
BOOK = Path(__file__).parents[2] / "book"
