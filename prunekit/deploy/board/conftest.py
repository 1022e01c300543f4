"""These files run on boards. The RTMaps components cannot be imported outside RTMaps."""

collect_ignore = ["rtmaps_component.py", "rtmaps_detector.py"]
