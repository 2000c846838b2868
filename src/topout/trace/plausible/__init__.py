"""What of a trace can have been: each event is held against the bulk of its recording.

Readers tell what a file says, analyses what it means; between them stands this. What a recording
never is, by far, is left out or cut off, counted and named in a doubt, so that one bad event
decides no figure. What recordings are like bounds each rule:

- A recording may pause for minutes, a night or days: cycles of a profiler, a model loaded long
  before it runs. So a gap says nothing by itself. Left out is what lies a week or more from the
  heavier part of its side (host or device), for no recording is silent that long; and a few events,
  at most one in a thousand, that more than 10 min and ten times the span of all others part from
  them. They stay where a call of the host and the work that it launched lie there together, since
  two clocks do not go wrong alike; work of a device whose own call is elsewhere, or nowhere though
  calls were recorded, needs no 10 min for that.
- Regions, Python functions and waits may last as long as the recording, and kernels may. So what is
  longer than the bulk is left out only where nothing else was recorded at its beginning or its end:
  a collective that hangs ends with the call that waits for it. It must be of minutes, or work that
  the host launched, of a second; or a hundred times as long as its like.
- Work of one stream runs in order. Still its times overlap: by rounding, and by dependent launches,
  which start before what they depend on ends but do not end before it. Kernels of one captured
  graph run side by side, and share a correlation. Processes, contexts and hardware queues may share
  the number of a stream: then many overlap, of usual durations. So cut off is what still runs when
  work of another launch behind it is through, and is longer than its like or than the recording.
"""

from topout.trace.plausible.events import plausible

__all__ = ["plausible"]
