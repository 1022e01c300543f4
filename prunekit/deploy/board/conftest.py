"""These files run on boards. The RTMaps component cannot be imported outside RTMaps."""

collect_ignore = ["rtmaps_component.py"]
