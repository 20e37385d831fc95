"""Many walks: a file with a line for each, made by workers that load their networks once.

`lines.py` reads the file, `results.py` keeps what was made and knows what is missing, `estimate.py` says when it will
be done. `workers.py` (Ray) and `comfy.py` (ComfyUI servers) make the walks and tell `news.py`; `server.py` is what is
said to a server, `workflow.py` what it is given to run.
"""
