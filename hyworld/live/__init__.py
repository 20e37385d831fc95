"""Live: a walk whose path is made by a person while it is walked.

`LiveWalk` walks, `Controls` turns what is held into motions, `Pictures` sends frames to a browser, `Recording` keeps
the video. Nothing here knows a network or a host.
"""
