"""Named, recorded experiments: declared in a TOML file, run to a folder of tables.

``python -m prunekit.study --help`` is the command line.
"""

from prunekit.study.declaration import Study, read_studies, read_study

__all__ = ["Study", "read_studies", "read_study"]
