"""Files of Kineto, nvprof and Nsight Systems, read into the one table of events.

Begin with `read`, which takes files and folders; `detect_format` tells what a file is.
"""
