"""These files run on boards. The RTMaps components cannot be imported outside RTMaps."""

collect_ignore_glob = ["rtmaps_*.py"]
