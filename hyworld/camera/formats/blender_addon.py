"""Blender add-on: File > Export / Import > HY-WorldPlay camera path. Runs inside Blender, without hyworld.

Install: Edit > Preferences > Add-ons > Install from Disk, this file. Or without a window:

    blender scene.blend --background --python blender_addon.py -- export camera.blender.json
    blender --background --python blender_addon.py -- import walk.blender.json walk.blend

Written are Blender's own numbers, frame by frame; `blender.py` makes poses of them and back.
"""

import json
import sys
from collections.abc import Callable

import bpy
from bpy.props import StringProperty
from bpy.types import Operator
from bpy_extras.io_utils import ExportHelper, ImportHelper
from mathutils import Matrix

bl_info = {
    "name": "HY-WorldPlay camera path",
    "author": "HY-WorldPlay for ComfyUI",
    "version": (1, 0, 0),
    "blender": (3, 6, 0),
    "location": "File > Export, File > Import",
    "description": "Takes the scene's camera to HY-WorldPlay, and its walks' cameras here",
    "category": "Import-Export",
}

LENS = ("type", "lens", "sensor_width", "sensor_height", "sensor_fit", "shift_x", "shift_y")


def camera_path(scene: bpy.types.Scene) -> dict[str, object]:
    """The active camera of each frame of the scene; raises `ValueError` without one."""
    if scene.camera is None:
        raise ValueError("The scene has no camera: add one and make it active.")
    render = scene.render
    current, frames = scene.frame_current, []
    for number in range(scene.frame_start, scene.frame_end + 1, scene.frame_step):
        scene.frame_set(number)
        # With constraints, parents and drivers applied; markers may have changed the camera.
        camera = scene.camera.evaluated_get(bpy.context.evaluated_depsgraph_get())
        frame = {"frame": number, "matrix_world": [list(row) for row in camera.matrix_world]}
        frame.update((key, getattr(camera.data, key)) for key in LENS)
        frames.append(frame)
    scene.frame_set(current)
    return {
        "program": f"Blender {bpy.app.version_string}",
        "fps": render.fps / render.fps_base,
        "width": render.resolution_x,
        "height": render.resolution_y,
        "pixel_aspect_x": render.pixel_aspect_x,
        "pixel_aspect_y": render.pixel_aspect_y,
        "frames": frames,
    }


def add_camera(scene: bpy.types.Scene, path: dict) -> bpy.types.Object:
    """A new active camera with a key for each frame of the path; the scene takes its size, rate and length."""
    frames = path["frames"]
    data = bpy.data.cameras.new("HY-WorldPlay")
    camera = bpy.data.objects.new("HY-WorldPlay", data)
    scene.collection.objects.link(camera)
    scene.camera = camera
    render = scene.render
    render.resolution_x, render.resolution_y = path["width"], path["height"]
    render.pixel_aspect_x, render.pixel_aspect_y = path["pixel_aspect_x"], path["pixel_aspect_y"]
    render.fps, render.fps_base = round(path["fps"]), round(path["fps"]) / path["fps"]
    scene.frame_start, scene.frame_end = frames[0]["frame"], frames[-1]["frame"]
    camera.rotation_mode = "QUATERNION"
    before = None
    for frame in frames:
        for key in LENS:
            setattr(data, key, frame[key])
        location, rotation, _ = Matrix(frame["matrix_world"]).decompose()
        if before is not None:
            rotation.make_compatible(before)  # of q and -q the nearer one, or the camera would turn the long way
        before = rotation
        camera.location, camera.rotation_quaternion = location, rotation
        camera.keyframe_insert("location", frame=frame["frame"])
        camera.keyframe_insert("rotation_quaternion", frame=frame["frame"])
        data.keyframe_insert("lens", frame=frame["frame"])
    for owner in (camera, data):
        for curve in _curves(owner.animation_data):
            for point in curve.keyframe_points:
                point.interpolation = "LINEAR"
    scene.frame_set(scene.frame_start)
    return camera


def _curves(animation: bpy.types.AnimData) -> list[bpy.types.FCurve]:
    action = animation.action
    if hasattr(action, "fcurves"):  # until Blender 4.5
        return list(action.fcurves)
    bags = [strip.channelbag(animation.action_slot) for layer in action.layers for strip in layer.strips]
    return [curve for bag in bags if bag for curve in bag.fcurves]


def export_file(name: str) -> None:
    text = json.dumps(camera_path(bpy.context.scene), indent=1)
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)


def import_file(name: str) -> None:
    with open(name, encoding="utf-8") as file:
        add_camera(bpy.context.scene, json.load(file))


class ExportCameraPath(Operator, ExportHelper):
    """Write the active camera, frame by frame, for HY-WorldPlay"""

    bl_idname = "export_scene.hyworld_camera"
    bl_label = "Export HY-WorldPlay camera path"
    filename_ext = ".blender.json"
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        return _reported(self, export_file)


class ImportCameraPath(Operator, ImportHelper):
    """Add the camera of a walk, written by HY-WorldPlay as .blender.json"""

    bl_idname = "import_scene.hyworld_camera"
    bl_label = "Import HY-WorldPlay camera path"
    bl_options = {"UNDO"}  # noqa: RUF012
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        return _reported(self, import_file)


def _reported(operator: Operator, job: Callable[[str], None]) -> set[str]:
    try:
        job(operator.filepath)
    except (OSError, ValueError, KeyError, TypeError) as error:
        operator.report({"ERROR"}, f"{operator.filepath}: {error}")
        return {"CANCELLED"}
    return {"FINISHED"}


def _export_entry(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.operator(ExportCameraPath.bl_idname, text="HY-WorldPlay camera path (.json)")


def _import_entry(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.operator(ImportCameraPath.bl_idname, text="HY-WorldPlay camera path (.json)")


def register() -> None:
    bpy.utils.register_class(ExportCameraPath)
    bpy.utils.register_class(ImportCameraPath)
    bpy.types.TOPBAR_MT_file_export.append(_export_entry)
    bpy.types.TOPBAR_MT_file_import.append(_import_entry)


def unregister() -> None:
    bpy.types.TOPBAR_MT_file_import.remove(_import_entry)
    bpy.types.TOPBAR_MT_file_export.remove(_export_entry)
    bpy.utils.unregister_class(ImportCameraPath)
    bpy.utils.unregister_class(ExportCameraPath)


def main(arguments: list[str]) -> None:
    """`export FILE`, or `import FILE BLEND` (saved as BLEND)."""
    if len(arguments) == 2 and arguments[0] == "export":
        export_file(arguments[1])
    elif len(arguments) == 3 and arguments[0] == "import":
        import_file(arguments[1])
        bpy.ops.wm.save_as_mainfile(filepath=arguments[2])
    else:
        sys.exit("usage: … -- export FILE  or  … -- import FILE BLEND")


if __name__ == "__main__":
    if "--" in sys.argv:
        main(sys.argv[sys.argv.index("--") + 1 :])
    else:  # run from Blender's text editor
        register()
