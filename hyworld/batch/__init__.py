"""Many walks: a file with a line for each, made by workers that load their networks once.

`lines.py` reads the file, `results.py` keeps what was made and knows what is missing, `estimate.py` says when it will
be done; `workers.py` (Ray) and `comfy.py` (the queues of ComfyUI servers) make the walks.
"""
