"""Live: a walk whose path is made by a person while it is walked.

The walk: `controls` (what is held → motions), `path` (motions → cameras), `pacing` (when the next chunk is asked for),
`walk` (`LiveWalk`, which one thread runs). What becomes of its chunks: `pictures` (for browsers), `recording` (the
video).

The people: `room` (who walks, who watches), `show` (what a room shows of one walk), `member` (one of them, and what
waits to be sent to them), `messages` (what is said), `socket` (a WebSocket and a room), `guard` (who may ask a server
for anything). ComfyUI's node and the page share all of these.

The page of `hyworld play`: `server`, `files` (what it serves), `uploads` (what it takes), `walking` (one live walk
after another, on a thread).
"""
