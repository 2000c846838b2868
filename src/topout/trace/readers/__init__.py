"""Files of Kineto, nvprof and Nsight Systems, read into the one table of events.

Begin with `read`, which takes files and folders, and tells what a file is by its content.
"""
