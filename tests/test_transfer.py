"""The study `transfer` on a folder of somebody's own images: checked, and every one of its rows trained for a step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from picture_sets import class_folders

ROOT, HERE = Path(__file__).parents[1], Path(__file__).parent
ROWS = ["transfer/teacher", "transfer/student", "transfer/student-features", "transfer/student-kd"]


@pytest.mark.timeout(600)
def test_a_pretrained_image_model_teaches_a_small_one_on_a_folder_of_images(project, tmp_path):
    photos = class_folders(tmp_path / "photos", ["cat", "dog"], 12)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(HERE)])}
    environment["MY_PHOTOS_DIR"] = str(photos)
    names = [f"{row}@transfer/photos" for row in ROWS]
    done = subprocess.run(
        [sys.executable, str(HERE / "paper_probe.py"), str(project.root), str(tmp_path), "--study", "transfer", *names],
        env=environment, capture_output=True, text=True, timeout=500, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    came = json.loads(done.stdout.splitlines()[-1])
    for name in names:
        assert len(came[name]["losses"]) == 1, name
        assert came[name]["dev"]["examples"] == 3
