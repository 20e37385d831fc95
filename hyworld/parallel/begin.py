"""Run as a file by `hired.Hired`: import the engine under the name that it has there, and follow.

python begin.py ENGINE FOLDER     (its name, such as hyworld or PACK.hyworld, and the folder that it lies in)
"""

import sys


def main() -> None:
    sys.path.pop(0)  # this folder, whose modules would hide others of their names
    import importlib
    import types

    engine, folder = sys.argv[1:]
    pack = engine.rpartition(".")[0]
    if pack:
        package = sys.modules[pack] = types.ModuleType(pack)
        package.__path__ = [folder]
    else:
        sys.path.insert(0, folder)
    importlib.import_module(f"{engine}.parallel.hired").work()


if __name__ == "__main__":
    main()
